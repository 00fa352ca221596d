"""Wav files of all kinds -> 16 kHz mono, and what is said of broken ones."""

import re
import struct

import numpy as np
import pytest
import soundfile
import soxr
from small_corpora import noise

from data_prep import audio


def sine(frequency: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    """A sine of amplitude 0.5."""
    times = np.arange(round(rate * seconds)) / rate
    return 0.5 * np.sin(2 * np.pi * frequency * times)


def level_at(frequency: int, wave: np.ndarray) -> float:
    """Amplitude of a frequency in one second at 16 kHz, away from the ends."""
    spectrum = np.fft.rfft(wave * np.hanning(len(wave)))
    return np.abs(spectrum[frequency]) * 4 / len(wave)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sound.wav"


@pytest.mark.parametrize(
    ("subtype", "tolerance"), [("PCM_16", 2**-15), ("PCM_24", 2**-23), ("FLOAT", 1e-7)]
)
def test_a_16_khz_mono_file_is_read_as_it_is(path, subtype, tolerance):
    written = noise()
    soundfile.write(path, written, 16000, subtype=subtype)
    sound = audio.read(path)
    assert (sound.stored_rate, sound.stored_channels) == (16000, 1)
    assert (sound.wave.shape, sound.wave.dtype) == ((4800,), np.float32)
    np.testing.assert_allclose(sound.wave, written, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_another_rate_is_converted_with_duration_and_frequency_kept(path, rate):
    soundfile.write(path, sine(440, rate), rate)
    sound = audio.read(path)
    assert sound.stored_rate == rate
    assert sound.wave.dtype == np.float32
    assert len(sound.wave) == pytest.approx(16000, abs=1)
    wave = np.resize(sound.wave, 16000)
    assert level_at(440, wave) == pytest.approx(0.5, rel=0.01)
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


def test_what_16_khz_cannot_hold_is_filtered_out_not_folded_back(path):
    soundfile.write(path, sine(10_000, 44100), 44100)  # would fold to 6 kHz
    wave = audio.read(path).wave
    assert np.sqrt(np.mean(wave[1000:-1000] ** 2)) < 1e-4


@pytest.mark.parametrize("rate", [16000, 44100])
def test_channels_are_averaged(path, rate):
    left, right = sine(440, rate), sine(1000, rate)
    soundfile.write(path, np.stack([left, right], axis=1), rate)
    sound = audio.read(path)
    assert sound.stored_channels == 2
    assert len(sound.wave) == pytest.approx(16000, abs=1)
    wave = np.resize(sound.wave, 16000)
    assert level_at(440, wave) == pytest.approx(0.25, rel=0.01)
    assert level_at(1000, wave) == pytest.approx(0.25, rel=0.01)


def test_chunks_beside_the_sound_do_not_matter(path):
    soundfile.write(path, noise(), 16000)
    plain = audio.read(path).wave
    whole = path.read_bytes()
    comment = b"LIST" + struct.pack("<I", 5) + b"INFO!\0"  # odd, so padded
    head = b"RIFF" + struct.pack("<I", len(whole) - 8 + 2 * len(comment)) + b"WAVE"
    path.write_bytes(head + comment + whole[12:] + comment)
    np.testing.assert_array_equal(audio.read(path).wave, plain)


def test_a_length_left_open_by_a_stream_is_read_to_the_end(path):
    soundfile.write(path, noise(), 16000)
    plain = audio.read(path).wave
    whole = path.read_bytes()
    assert whole[36:40] == b"data"
    path.write_bytes(whole[:40] + b"\xff\xff\xff\xff" + whole[44:])
    np.testing.assert_array_equal(audio.read(path).wave, plain)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_the_digest_is_that_of_the_samples_alone(tmp_path, rate):
    paths = [tmp_path / f"{index}.wav" for index in range(3)]
    soundfile.write(paths[0], noise(), rate, subtype="PCM_16")
    samples, _ = soundfile.read(paths[0])
    soundfile.write(paths[1], np.stack([samples, samples], axis=1), rate, "FLOAT")
    samples[1000] += 2**-15
    soundfile.write(paths[2], samples, rate, subtype="PCM_16")
    one, same, other = (audio.read(path).digest() for path in paths)
    assert re.fullmatch("[0-9a-f]{16}", one)
    assert one == same != other


def write_empty(path):
    path.write_bytes(b"")


def write_no_samples(path):
    soundfile.write(path, np.zeros(0), 16000)


def write_cut_in_the_sound(path):
    soundfile.write(path, noise(), 16000)
    path.write_bytes(path.read_bytes()[:-100])


def write_cut_in_the_header(path):
    soundfile.write(path, noise(), 16000)
    path.write_bytes(path.read_bytes()[:38])


def write_text(path):
    path.write_text("This is no sound.\n" * 10)


def write_not_a_number(path):
    soundfile.write(path, [0.1, np.nan, 0.1], 16000, subtype="FLOAT")


def write_infinite(path):
    soundfile.write(path, [0.1, np.inf, 0.1], 16000, subtype="FLOAT")


def write_silence(path):
    soundfile.write(path, np.zeros((4800, 2)), 44100)


def write_pointer_of_git_lfs(path):
    path.write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:c6f94b2592487c7556bd86df7df6e8f4420d1b9c11414aeec9d8e5e640b51495\n"
        "size 72862\n"
    )


def write_too_little_to_resample(path):
    soundfile.write(path, [0.1], 96000)


def write_nothing(path):
    pass


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_empty, "the file is empty (0 bytes)"),
        (write_no_samples, "holds no samples"),
        (
            write_cut_in_the_sound,
            "is cut short: 100 of 9600 bytes of sound are missing",
        ),
        (write_cut_in_the_header, "is cut short: it ends before any sound"),
        (write_text, "cannot be decoded (Format not recognised.)"),
        (write_not_a_number, "has samples that are NaN or infinite"),
        (write_infinite, "has samples that are NaN or infinite"),
        (
            write_silence,
            "is silent: every sample is zero once its 2 channels are averaged",
        ),
        (
            write_pointer_of_git_lfs,
            "is a pointer of Git LFS, not the sound (git lfs pull)",
        ),
        (write_too_little_to_resample, "holds too few samples to resample"),
        (write_nothing, "no such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(path, write, reason):
    write(path)
    with pytest.raises(audio.AudioError) as raised:
        audio.read(path)
    assert str(raised.value) == reason


def test_a_failing_disk_is_a_reason_too(path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(5, "Input/output error")

    soundfile.write(path, noise(), 16000)
    monkeypatch.setattr(audio.soundfile.SoundFile, "read", fail)
    with pytest.raises(audio.AudioError, match="Input/output error"):
        audio.read(path)


def encoded(path, samples, rate=16000, **how) -> bytes:
    """The bytes of a file, so that a test can change them."""
    soundfile.write(path, samples, rate, **how)
    return path.read_bytes()


CONTAINERS = [
    {"format": name}
    for name in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC")
]
CONTAINERS += [
    {"format": "OGG", "subtype": "VORBIS"},
    {"format": "OGG", "subtype": "OPUS"},
    {"format": "MP3", "subtype": "MPEG_LAYER_III"},
]


@pytest.mark.parametrize("how", CONTAINERS, ids=lambda how: "-".join(how.values()))
def test_a_whole_file_is_read_and_a_cut_one_refused_in_any_container(path, how):
    whole = encoded(path, noise(48000), **how)
    assert len(audio.read(path).wave) == 48000
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(audio.AudioError, match=r"is cut short|cannot be"):
            audio.read(path)


def test_a_container_that_never_says_how_long_it_is_is_refused(path):
    encoded(path, noise(), format="IRCAM")
    with pytest.raises(audio.AudioError, match=r"is of format IRCAM.*convert"):
        audio.read(path)


@pytest.mark.parametrize(
    ("how", "name", "lengths"),
    [
        ("WAV", b"data", (0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)),
        ("AIFF", b"SSND", (0, 0x7FFFF000, 0xFFFFFFFF)),
        ("AU", b".snd\0\0\0\x18", (0, 0xFFFFFFFF)),
    ],
)
def test_a_whole_file_written_to_a_pipe_is_whole(path, how, name, lengths):
    whole = encoded(path, noise(48000), format=how)
    plain = audio.read(path).wave
    at = whole.index(name) + len(name)
    order = "little" if how == "WAV" else "big"
    for length in lengths:
        path.write_bytes(whole[:at] + length.to_bytes(4, order) + whole[at + 4 :])
        sound = audio.read(path)
        np.testing.assert_array_equal(sound.wave, plain)
        assert sound.warnings == ()


def test_sound_behind_the_announced_end_is_said(path):
    whole = encoded(path, noise())
    path.write_bytes(whole[:40] + struct.pack("<I", 4800) + whole[44:])
    assert audio.read(path).warnings == (
        "4800 bytes lie behind the end that the file announces",
    )


@pytest.mark.parametrize("changed", [8000, 48000])
def test_a_header_that_contradicts_itself_is_said(path, changed):
    """Its rate is believed, and its bytes per second are of another one."""
    path.write_bytes(with_rate(changed)(encoded(path, noise(16000))))
    assert any("contradicts itself" in warning for warning in audio.read(path).warnings)


def test_two_files_in_one_are_said(path):
    path.write_bytes(encoded(path, noise(), format="W64") * 2)
    assert any("behind the end" in warning for warning in audio.read(path).warnings)


def test_flac_is_checked_by_its_md5(path):
    whole = bytearray(encoded(path, noise(), format="FLAC"))
    plain, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(audio.read(path).wave, plain)
    whole[30] ^= 1  # of the sum itself
    path.write_bytes(whole)
    with pytest.raises(audio.AudioError, match="do not have their MD5"):
        audio.read(path)


def test_an_mp3_whose_header_has_another_checksum_is_said(path):
    whole = bytearray(encoded(path, noise(16000), format="MP3"))
    assert audio.read(path).warnings == ()
    whole[whole.index(b"Xing") + 11] -= 4  # how many frames there are
    path.write_bytes(whole)
    assert "checksum" in audio.read(path).warnings[0]


def with_rate(rate):
    return lambda whole: whole[:24] + struct.pack("<I", rate) + whole[28:]


def with_channels(channels):
    return lambda whole: whole[:22] + struct.pack("<H", channels) + whole[24:]


def with_frames_of_flac(frames):
    """STREAMINFO has 36 bits for them."""

    def changed(whole):
        high = whole[21] & 0xF0 | frames >> 32
        return whole[:21] + struct.pack(">BI", high, frames % 2**32) + whole[26:]

    return changed


@pytest.mark.parametrize(
    ("how", "change", "reason"),
    [
        ("WAV", with_rate(1), "a rate of 1 Hz is none of a recording"),
        ("WAV", with_rate(4_000_000), "a rate of 4000000 Hz is none of a recording"),
        ("WAV", with_channels(1024), "1024 channels are none of a recording"),
        ("FLAC", with_frames_of_flac(2**36 - 1), "announces 1,193 hours of sound"),
        ("FLAC", with_frames_of_flac(0), "does not say how many samples it holds"),
        ("FLAC", with_frames_of_flac(4900), "cannot be decoded"),
    ],
)
def test_a_header_that_no_recording_has_is_refused_before_decoding(
    path, how, change, reason
):
    path.write_bytes(change(encoded(path, noise(), format=how)))
    with pytest.raises(audio.AudioError, match=reason):
        audio.read(path)


def opposite(samples, share=1.0):
    return np.stack([samples, -share * samples], axis=1)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (opposite(noise(9600)), "is silent: .* once its 2 channels are averaged"),
        (np.full(9600, 0.3), "is constant: every sample is 0.3"),
        (np.full(9600, 1e-5), "is silent"),
        (noise(9600) * 1e20, "peaks at 1e\\+19 times full scale"),
        (np.r_[noise(9600), np.nan], "has samples that are NaN or infinite"),
        (noise(9600) * 1e300, "has samples that are NaN or infinite"),
    ],
)
def test_what_is_no_speech_once_converted_is_refused_from_files_and_arrays(
    path, samples, rate, reason
):
    encoded(path, samples, rate, subtype="DOUBLE")
    with pytest.raises(audio.AudioError, match=reason) as of_file:
        audio.read(path)
    with pytest.raises(audio.AudioError) as of_array:
        [*audio.from_samples(samples, rate)]
    assert str(of_array.value) == str(of_file.value)


@pytest.mark.parametrize(
    ("samples", "rate", "warning"),
    [
        (noise() * 32768, 16000, "integers stored as floats"),
        (noise() * 1e-3, 16000, "is very quiet: its peak is -80 dB"),
        (noise(), 8000, "is stored at 8000 Hz, so that all above 4000 Hz is missing"),
        (np.clip(noise() * 20, -1, 1), 16000, "is clipped: 50.* is at full scale"),
        (noise() + 0.4, 16000, "has a constant offset of 0.4"),
        (opposite(noise() * 5, 0.99), 16000, "they are of opposite sign"),
        (sine(20_000, 48000), 48000, "loses nearly all, which is above 8000 Hz"),
    ],
)
def test_what_is_suspicious_is_a_warning(path, samples, rate, warning):
    encoded(path, samples, rate, subtype="FLOAT")
    (found,) = audio.read(path).warnings
    assert re.search(warning, found)
    opened = audio.from_samples(samples, rate)
    assert len(np.concatenate([*opened])) == opened.num_samples
    assert opened.warnings == (found,)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_stream_gives_the_samples_of_the_whole_in_blocks(path, rate):
    samples = opposite(noise(300_000), 0.5)
    encoded(path, samples, rate, subtype="FLOAT")
    stream = audio.stream(path)
    blocks = [*stream]
    assert max(map(len, blocks)) < 100_000
    whole = samples.astype(np.float32).mean(axis=1)
    if rate != 16000:
        whole = soxr.resample(whole, rate, 16000)
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert stream.num_samples == len(whole)
    assert stream.content == audio.read(path).digest()


def test_blocks_of_mp3_are_what_the_whole_gives(tmp_path):
    path = tmp_path / "long.mp3"
    tone = 0.5 * np.sin(np.arange(16000 * 12) ** 1.2 / 40)
    soundfile.write(path, tone, 16000)
    whole, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_allclose(audio.read(path).wave, whole, atol=1e-6)
