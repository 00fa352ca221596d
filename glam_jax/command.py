"""How commands begin and end: flags, what a person sees, and the exit status."""

import os
import pathlib
import re
import sys
from collections.abc import Callable

from absl import flags

from glam_jax import signals

PREEMPTED = 75  # exit status after a signal, EX_TEMPFAIL: the same command goes on
# What a user can cause or mend is told by one of these; its text is the sentence.
_EXPECTED = (OSError, ValueError, FloatingPointError)

_NO_CONFIGS = ("__init__", "base")  # modules of configs/
_DEBUG = flags.DEFINE_bool("debug", False, "Show the traceback of an error.")


def parse(argv: list[str]) -> list[str]:
    """Reads the flags; what is wrong with them, or in a config file, ends in a line."""
    for path in _config_files(argv):
        if not path.is_file():
            sys.exit(f"error: {_no_config_file(path)}")
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        name, hint = error.flagname, str(error)
        if name in _fields():
            hint = f"no flag --{name}; a field of the config is set as --config.{name}"
        sys.exit(f"error: {hint} (--help explains)")
    except flags.Error as error:  # a config file's error is the last line of its text
        message = str(error).strip().splitlines()[-1].strip()
        if "Flag --config must have a value" in message:
            message = (
                "name a config file: --config=configs/emodb.py; without a corpus: "
                "python -m data_prep.build --corpus=demo, then --config=configs/demo.py"
            )
        sys.exit(f"error: {message.removeprefix('ValueError: ')} (--help explains)")
    except (AttributeError, KeyError) as error:  # no such field
        sys.exit(f"error: {_unknown_field(argv, str(error))}")


def _config_files(argv: list[str]) -> list[pathlib.Path]:
    given = [a.partition("=")[2] for a in argv if re.match("--?config=", a)]
    return [pathlib.Path(value.partition(":")[0]) for value in given]


def _unknown_field(argv: list[str], message: str) -> str:
    given = [m[1] for a in argv if (m := re.match(r"--?config\.(\w+)", a))]
    unknown = [name for name in given if name not in _fields()]
    name = f" {unknown[0]}" if unknown else ""
    if nearest := re.search(r'Did you mean "(\w+)"', message):
        return f'no field{name} in the config; did you mean "{nearest[1]}"?'
    return f"no field{name} in the config; there are {', '.join(_fields())}"


def _fields() -> list[str]:
    from configs import base

    return sorted(base.get_config())


def _no_config_file(path: pathlib.Path) -> str:
    import configs

    folder = pathlib.Path(configs.__file__).parent
    names = [p.stem for p in sorted(folder.glob("*.py")) if p.stem not in _NO_CONFIGS]
    return (
        f"there is no config file {path.absolute()}; in {folder} there are "
        f"{', '.join(names)}"
    )


def run(work: Callable[[], None]) -> None:
    """Calls `work`; what a user can cause or mend ends in a line and a status."""
    signals.stop_at_once()
    try:
        work()
    except signals.Preempted:
        print("stopped. The same command goes on.", flush=True)
        # XLA's threads, still at work, would crash an orderly exit.
        os._exit(PREEMPTED)
    except Exception as error:
        if _DEBUG.value:
            raise
        sys.exit(f"error: {_sentence(error)}")


def set_up_jax() -> None:
    """Imports JAX, which takes seconds, and sets it up before anything else does."""
    from glam_jax import parallel

    parallel.use_cpu_cores()
    parallel.use_compilation_cache()
    parallel.use_single_precision()


def _sentence(error: Exception) -> str:
    """An error in one line, of whatever library."""
    text = str(error)
    if isinstance(error, _EXPECTED):
        return text
    first = text.strip().splitlines()[0].strip() if text.strip() else "no message"
    return f"{first} ({type(error).__name__}; --debug shows where)"
