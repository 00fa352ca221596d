"""How commands begin and end: flags, what a person sees, and the exit status."""

import os
import sys
from collections.abc import Callable

from absl import flags

PREEMPTED = 75  # exit status after SIGTERM, EX_TEMPFAIL: the same command goes on


def parse(argv: list[str]) -> list[str]:
    """Reads the flags; what is wrong with them, or in a config file, ends in a line."""
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:  # a config file's error is the last line of its text
        message = str(error).strip().splitlines()[-1].strip()
        sys.exit(f"error: {message.removeprefix('ValueError: ')} (--help explains)")
    except (AttributeError, KeyError) as error:  # no such field
        nearest = str(error).rpartition("Did you mean ")[2].rpartition(" instead")
        sys.exit(f"error: no such field of the config; did you mean {nearest[0]}?")


def run(train: Callable[[], None]) -> None:
    """Calls `train`; what a user can cause or mend ends in a line and a status."""
    from glam_jax import parallel  # importing JAX takes seconds
    from glam_jax import train as train_lib

    parallel.use_cpu_cores()
    parallel.use_compilation_cache()
    try:
        train()
    except (OSError, ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    except train_lib.Preempted:
        print("stopped and saved. The same command goes on.")
        sys.exit(PREEMPTED)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint.")
        sys.stdout.flush()
        os._exit(130)  # XLA's threads, still at work, would crash an orderly exit
