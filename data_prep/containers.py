"""How long a sound file says it is, against how long it is."""

import dataclasses
import pathlib
import re
import struct
from typing import Any, BinaryIO

_GIT_LFS = b"version https://git-lfs"
_HEAD = 1024  # bytes: the whole header of NIST, the beginning of any other
_LAST_PAGE = 65_307  # bytes, the most that a page of Ogg has
_LAME_SUM = 154  # bytes from the name of its header to the checksum of LAME


@dataclasses.dataclass(frozen=True)
class Chunks:
    """How the chunks of a container are laid out.

    Attributes:
      first: Where the first chunk begins.
      header: The struct format of a chunk's name and length.
      sound: How the name of the chunk with the sound begins.
      with_header: Whether the length counts the chunk's header.
      multiple: Chunks begin at multiples of so many bytes.
    """

    first: int
    header: str
    sound: bytes
    with_header: bool = False
    multiple: int = 1


_CHUNKS = {
    b"RIFF": Chunks(12, "<4sI", b"data", multiple=2),
    b"RIFX": Chunks(12, ">4sI", b"data", multiple=2),
    b"RF64": Chunks(12, "<4sI", b"data", multiple=2),
    b"FORM": Chunks(12, ">4sI", b"SSND", multiple=2),
    b"caff": Chunks(8, ">4sQ", b"data"),
    b"riff": Chunks(40, "<16sQ", b"data", with_header=True, multiple=8),  # Wave64
}


# Formats of WAV whose frames have all the same bytes: PCM, float, A-law, mu-law, and
# what tells its kind elsewhere.
_UNPACKED = (1, 3, 6, 7, 0xFFFE)


@dataclasses.dataclass(frozen=True)
class Opened:
    """How to open a file that is whole.

    Attributes:
      file: Its path, or a `Changed` one where its header needs another length.
      odd: What is odd about it and no reason to refuse it, '' when nothing is.
      md5: Of the samples as integers, b"" where the file does not tell it.
      sample_bytes: Bytes of such an integer.
    """

    file: Any
    odd: str = ""
    md5: bytes = b""
    sample_bytes: int = 0


class NotWhole(ValueError):
    """Less is there than the file announces."""


def check_whole(path: pathlib.Path) -> Opened:
    """Compares the bytes of sound that a file announces with those that are there.

    libsndfile reads what is there and says nothing. What announces frames instead of
    bytes (FLAC, MP3) is to be compared with the frames that are read.

    Raises:
      NotWhole: When sound is missing, or the file only tells where the sound is, as in
        a clone of CREMA-D without Git LFS.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD)
        if head.startswith(_GIT_LFS):
            raise NotWhole("is a pointer of Git LFS, not the sound (git lfs pull)")
        amiga = head[:4] == b"FORM" and head[8:12] not in (b"AIFF", b"AIFC")
        if head[:4] in _CHUNKS and not amiga:
            found = _check_chunks(file, size, head)
        elif head[:4] in (b".snd", b"dns."):  # Sun's AU
            order = ">" if head[:1] == b"." else "<"
            start, length = struct.unpack_from(f"{order}II", head.ljust(12, b"\0"), 4)
            found = _compare(start, length, size, 8)
        elif head.startswith(b"NIST_1A"):
            found = _check_nist(head, size)
        elif head[:4] == b"OggS":
            return _check_last_page(file, size) or Opened(path)
        elif head[:4] == b"fLaC":
            return _check_flac(path, head)
        elif head[:3] == b"ID3" or head[:1] == b"\xff":
            return Opened(path, _check_mp3(file, head))
        else:
            return Opened(path)
    if isinstance(found, int):  # libsndfile takes 0 at its word, and this for open
        return Opened(Changed(path, found, b"\xff" * 4))
    return Opened(path, found)


class Changed:
    """A file that is read with other bytes at one place, as far as soundfile needs."""

    def __init__(self, path: pathlib.Path, at: int, instead: bytes):
        """Opens a file.

        Args:
          path: The file.
          at: Where the other bytes are.
          instead: The other bytes.
        """
        self._file = path.open("rb")
        self._at, self._instead = at, instead
        self.seek, self.tell = self._file.seek, self._file.tell

    def read(self, size: int = -1) -> bytes:
        """Reads so many bytes, or all that are left."""
        start = self.tell()
        data = bytearray(self._file.read(size))
        for index, byte in enumerate(self._instead, self._at - start):
            if 0 <= index < len(data):
                data[index] = byte
        return bytes(data)


def _check_chunks(file: BinaryIO, size: int, head: bytes) -> str | int:
    layout = _CHUNKS[head[:4]]
    at, long_length, odd = layout.first, None, ""
    while chunk := _chunk(file, at, layout):
        name, start, length = chunk
        if name == b"ds64":  # RF64 has the lengths that need 64 bits here
            file.seek(start + 8)
            (long_length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if name.startswith(b"fmt "):
            odd = _contradiction(file, start, layout)
        if name.startswith(layout.sound):
            if long_length is not None and length == 0xFFFFFFFF:
                length = long_length
            end = _end(start, length, layout)
            if end <= size and _only_chunks(file, end, size, layout):
                return odd
            return _compare(start, length, size, start - 4) or odd
        at = _end(start, length, layout)
        if at != start + length and not _named(file, at, layout):
            at = start + length  # some writers leave out the byte that fills up
    raise NotWhole("is cut short: it ends before any sound")


def _contradiction(file: BinaryIO, at: int, layout: Chunks) -> str:
    """Whether bytes per second and per frame are those of the rate and channels."""
    order = layout.header[0]
    file.seek(at)
    head = file.read(16).ljust(16, b"\0")
    kind, channels, rate, speed, frame, bits = struct.unpack(f"{order}HHIIHH", head)
    if kind not in _UNPACKED:
        return ""
    if frame == channels * -(-bits // 8) and speed == rate * frame:
        return ""
    return (
        f"has a header that contradicts itself: {rate} Hz, {channels} channels and "
        f"{bits} bits, but {speed} bytes a second and {frame} a frame"
    )


def _compare(start: int, length: int, size: int, field: int) -> str | int:
    """What is odd about a length, or where it stands if it is to be read as open."""
    missing = start + length - size
    if length == 0 and missing < 0:
        return field
    if _is_open(length):
        return ""
    if missing > 0:
        raise NotWhole(
            f"is cut short: {missing} of {length} bytes of sound are missing"
        )
    if missing < -1:
        return f"{-missing} bytes lie behind the end that the file announces"
    return ""


def _is_open(length: int) -> bool:
    """Whether this is what a writer to a pipe leaves, which cannot know the length."""
    in_32_bits = length >= 0xFFFF0000 and length < 1 << 32
    half = 0x7FFF0000 <= length <= 0x80000FFF
    return half or in_32_bits or length >= 1 << 62


def _chunk(file: BinaryIO, at: int, layout: Chunks) -> tuple[bytes, int, int] | None:
    """(name, start, length) of the chunk at a place, None behind the last one."""
    header = struct.calcsize(layout.header)
    if at >= 1 << 62:  # where no file reaches
        return None
    file.seek(at)
    found = file.read(header)
    if len(found) < header:
        return None
    name, length = struct.unpack(layout.header, found)
    if layout.with_header:
        length = max(0, length - header)
    return name, at + header, length


def _end(start: int, length: int, layout: Chunks) -> int:
    """Where the next chunk begins."""
    end = start + length
    return end + -end % layout.multiple


def _named(file: BinaryIO, at: int, layout: Chunks) -> bool:
    """Whether a chunk with a name that can be read begins here."""
    chunk = _chunk(file, at, layout)
    return chunk is None or re.fullmatch(rb"[ -~]{4}", chunk[0][:4]) is not None


def _only_chunks(file: BinaryIO, at: int, size: int, layout: Chunks) -> bool:
    """Whether nothing but whole chunks lies from here to the file's end."""
    while chunk := _chunk(file, at, layout):
        name, start, length = chunk
        if not re.fullmatch(rb"[ -~]{4}", name[:4]) or start + length > size:
            return False
        if name[:4] in _CHUNKS:  # another whole file
            return False
        at = _end(start, length, layout)
    return at >= size - 1


def _check_last_page(file: BinaryIO, size: int) -> None:
    """The last page of Ogg is marked as such, and whole."""
    file.seek(max(0, size - _LAST_PAGE))
    rest = file.read()
    page = rest[rest.rfind(b"OggS") :]
    segments = page[26] if len(page) > 26 else 0
    whole = len(page) > 26 and len(page) >= 27 + segments + sum(page[27:][:segments])
    if not (whole and page[5] & 4):
        raise NotWhole("is cut short: its last page is missing")


def _check_flac(path: pathlib.Path, head: bytes) -> Opened:
    if not int.from_bytes(head[21:26]) & 0xFFFFFFFFF:  # samples, in 36 bits
        raise NotWhole(
            "does not say how many samples it holds (was it written to a pipe?): "
            "convert it to WAV, or to FLAC once more"
        )
    bits = (head[20] << 4 & 16 | head[21] >> 4) + 1
    md5 = head[26:42] if bits in (8, 16, 24) and any(head[26:42]) else b""
    return Opened(path, md5=md5, sample_bytes=bits // 8)


def _check_mp3(file: BinaryIO, head: bytes) -> str:
    start = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        start = 10 + sum(
            byte << shift
            for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
    file.seek(start)
    first = file.read(_HEAD)
    if tag := re.search(b"Xing|Info|VBRI", first):
        at = tag.start() + _LAME_SUM
        written = int.from_bytes(first[at : at + 2])
        has_sum = re.search(b"LAME|Lavc|Lavf", first[:at])
        if has_sum and written not in (0, _crc16(first[:at])):
            return "has a header whose checksum is wrong: is its length right?"
        return ""
    return "does not say how long it is (MP3 without a Xing header): is it whole?"


def _crc16(content: bytes) -> int:
    """The checksum that LAME writes of the beginning of a file."""
    found = 0
    for byte in content:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (0xA001 if found & 1 else 0)
    return found


def _check_nist(head: bytes, size: int) -> str | int:
    fields = {
        name: int(value)
        for name, value in re.findall(rb"(?m)^(\w+) -i (\d+)\s*$", head)
    }
    names = (b"sample_count", b"channel_count", b"sample_n_bytes")
    if not all(name in fields for name in names):
        return ""
    length = fields[names[0]] * fields.get(names[1], 1) * fields[names[2]]
    start = re.match(rb"NIST_1A\n\s*(\d+)\n", head)
    odd = _compare(int(start[1]) if start else _HEAD, length, size, 0)
    return odd or ""
