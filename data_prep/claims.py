"""Who works in a folder: one process at a time.

A lock of the operating system (flock) keeps a folder to a process and ends with it,
however that ends. It is believed where the file system is of this machine alone. On one
that machines share (NFS, SMB, FUSE, ...) flock may be missing, or hold on one machine
only: there a claim, a file that only one process can make (O_EXCL), says in addition
which process has the folder. One that was left by a process of this machine that is no
more is replaced; whether one of another machine still runs cannot be known, and the
error says which file to delete if it does not.
"""

import contextlib
import datetime
import errno
import fcntl
import json
import os
import pathlib
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

LOCK = ".lock"
# File systems that more than one machine may have mounted, by how their names begin.
_SHARED = ("nfs", "cifs", "smb", "fuse", "9p", "ceph", "lustre", "gpfs", "glusterfs")
_SHARED += ("beegfs", "afs", "virtiofs", "vboxsf", "ocfs2", "gfs2", "panfs", "orangefs")


class Held(ValueError):
    """Another process works in a folder."""


@contextlib.contextmanager
def hold(folder: pathlib.Path, patience: float = 1.0, lock: str = LOCK) -> Iterator:
    """Keeps a folder to this process while it is open.

    Args:
      folder: It is made if it is not there.
      patience: Seconds to wait for another process.
      lock: The name of the file that is locked.

    Raises:
      Held: When another process keeps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    with open(folder / lock, "a+") as file, contextlib.ExitStack() as stack:
        while True:
            locked = _lock(file.fileno(), fcntl.LOCK_EX)
            free = locked is not False
            advice = "wait until it ends, or stop it"
            if free and (locked is None or _is_shared(folder)):
                claim = folder / f"{lock}.claim"
                free = _claim(claim, stack)
                advice += f". If it has ended already, delete {claim}"
            if free:
                break
            if time.monotonic() > deadline:
                raise Held(f"{folder} is in use by {owner(folder, lock)}; {advice}")
            if locked:
                fcntl.flock(file.fileno(), fcntl.LOCK_UN)
            time.sleep(0.05)
        file.truncate(0)
        file.write(json.dumps(_this_process()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextlib.contextmanager
def wait_for(folder: pathlib.Path, what: str, lock: str = LOCK) -> Iterator:
    """Keeps a folder to this process, once all others are done with it.

    Args:
      folder: It is made if it is not there.
      what: What others do there, for the line that says who is waited for.
      lock: The name of the file that is locked.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(folder, 0.2, lock))
        except Held as error:
            print(f"waiting: {what}; {error}", flush=True)
            stack.enter_context(hold(folder, float("inf"), lock))
        yield


def owner(folder: pathlib.Path, lock: str = LOCK) -> str:
    """Which process keeps a folder: 'process 17 on host since ...'; '' when none."""
    path, claim = folder / lock, folder / f"{lock}.claim"
    try:
        with open(path) as file:
            if _lock(file.fileno(), fcntl.LOCK_SH) is False:
                return _in_words(_read(path))
    except FileNotFoundError:
        return ""
    return _in_words(_read(claim)) if claim.exists() else ""


def _lock(descriptor: int, kind: int) -> bool | None:
    """Whether an open file could be locked, None where there are no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            return None
        raise
    return True


def _claim(path: pathlib.Path, stack: contextlib.ExitStack) -> bool:
    """Makes a file that only one process can make, and removes it with the stack.

    Returns:
      Whether it is made; not where a process has made it that may still run.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            if not _is_over(_read(path)):
                return False
            gone = path.with_name(f"{path.name}.{os.getpid()}")
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, gone)  # only one of several processes can
                if not _is_over(_read(gone)):  # one of them has made it since
                    os.rename(gone, path)
                    return False
                gone.unlink()
            continue
        stack.callback(path.unlink, missing_ok=True)
        with open(descriptor, "w") as file:
            file.write(json.dumps(_this_process()))
        return True


def _read(path: pathlib.Path) -> dict[str, Any]:
    """Which process a file names; {} when it names none."""
    try:
        found = json.loads(path.read_text())
        return found if isinstance(found["process"], int) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _this_process() -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": now,
        "began": _began(os.getpid()),
    }


def _is_over(owner: dict[str, Any]) -> bool:
    """Whether it was a process of this machine that is no more."""
    if owner.get("host") != socket.gethostname():
        return False
    return _began(owner["process"]) != owner.get("began")


def _began(process: int) -> str:
    """When a process of this machine began, '' when there is none of this number."""
    try:
        status = pathlib.Path(f"/proc/{process}/stat").read_text()
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {status.rpartition(')')[2].split()[19]}"
    except FileNotFoundError:
        if pathlib.Path("/proc/self/stat").exists():
            return ""
    try:  # no Linux
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "running"


def _in_words(owner: dict[str, Any]) -> str:
    if not owner:
        return "another process"
    since = f" since {owner['since']} UTC" if "since" in owner else ""
    return f"process {owner['process']} on {owner.get('host')}{since}"


def _is_shared(folder: pathlib.Path) -> bool:
    """Whether other machines may have the file system of a folder mounted, too.

    Told by Linux; elsewhere flock is believed.
    """
    try:
        lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = [
        after.split()[0]
        for before, _, after in (line.partition(" - ") for line in lines)
        if before.split()[2] == number
    ]
    return any(re.match("|".join(_SHARED), kind) for kind in kinds)
