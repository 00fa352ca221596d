"""Commands as processes of their own: real ones, and ones that begin imported.

Importing JAX and what stands on it takes a process seconds. A server does it once, and
forks: what it forks has the libraries, and none of the modules of the package that
define flags. `run_command` is for what tests say of commands; `run_afresh` starts an
interpreter, as a user does, for what they say of its start.
"""

import concurrent.futures
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).parents[1]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["glam_jax.train", "glam_jax.figures", "glam_jax.grid", "data_prep.preparation"]
)


class Finished(NamedTuple):
    """What a command ended with and said."""

    returncode: int
    stdout: str
    stderr: str


class Command:
    """A command at work."""

    def __init__(self, name: str, *arguments: str, folder: pathlib.Path = ROOT):
        readers, writers = zip(*[SERVER.Pipe(duplex=False) for _ in "12"], strict=True)
        # The server imports the package from here, like a process after installation.
        os.environ["PYTHONPATH"] = str(ROOT)
        self._process = SERVER.Process(
            target=_work, args=(name, arguments, folder, writers)
        )
        self._process.start()
        for writer in writers:
            writer.close()
        threads = concurrent.futures.ThreadPoolExecutor(len(readers))
        self._texts = [threads.submit(_read, reader) for reader in readers]

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def is_running(self) -> bool:
        return self._process.is_alive()

    def finish(self, timeout: float = 100) -> Finished:
        """Waits for its end, and for that of all who hold its output."""
        self._process.join(timeout)
        if self._process.is_alive():
            self._process.kill()
        stdout, stderr = (text.result(timeout) for text in self._texts)
        return Finished(self._process.exitcode, stdout, stderr)


def _work(name, arguments, folder, writers):
    for descriptor, writer in enumerate(writers, 1):
        os.dup2(writer.fileno(), descriptor)
        writer.close()
    # As an interpreter makes them; the server's stand for other files.
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    sys.path[:0] = [str(folder), str(ROOT)]
    sys.argv = [name, *arguments]
    if name.endswith(".py"):
        runpy.run_path(name, run_name="__main__")
    else:
        runpy.run_module(name, run_name="__main__", alter_sys=True)


def _read(reader):
    with reader, open(reader.fileno(), closefd=False) as file:
        return file.read()


def run_command(name: str, *arguments: str, folder: pathlib.Path = ROOT) -> Finished:
    """Runs a module, or a file of Python, as a command in a folder."""
    return Command(name, *arguments, folder=folder).finish()


def run_afresh(name: str, *arguments: str, folder: pathlib.Path = ROOT) -> Finished:
    """Runs the same in an interpreter of its own, which has imported nothing."""
    command = [sys.executable, *([] if name.endswith(".py") else ["-m"]), name]
    ended = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return Finished(ended.returncode, ended.stdout, ended.stderr)
