"""How the commands of trainings begin: a config, and JAX."""

import pathlib
import re

from absl import flags

from data_prep import paths
from data_prep.command import refuse, run, run_by_flags

__all__ = ["define_config", "parse", "refuse", "run", "run_by_flags", "set_up_jax"]

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
_NO_CONFIGS = ("__init__", "base")  # modules of configs/


def define_config() -> None:
    """Defines --config, which must be given."""
    from ml_collections import config_flags

    config_flags.DEFINE_config_file(
        "config", None, "Config file, with an argument after a colon.", lock_config=True
    )
    flags.mark_flag_as_required("config")


def parse(argv: list[str]) -> list[str]:
    """Reads the flags; what is wrong with them, or in a config file, ends in a line."""
    _check_configs()
    argv = _with_config_file(argv)
    try:
        return flags.FLAGS(argv)
    except flags.UnrecognizedFlagError as error:
        name, hint = error.flagname, str(error)
        if name in _fields():
            hint = f"no flag --{name}; a field of the config is set as --config.{name}"
        refuse(f"{hint} (--help explains)")
    except flags.Error as error:  # a config file's error is the last line of its text
        message = str(error).strip().splitlines()[-1].strip()
        if "Flag --config must have a value" in message:
            message = (
                "name a config file: --config=configs/emodb.py; without a corpus: "
                "python -m data_prep.build --corpus=demo, then --config=configs/demo.py"
            )
        refuse(f"{message.removeprefix('ValueError: ')} (--help explains)")
    except (AttributeError, KeyError) as error:  # no such field
        refuse(_unknown_field(argv, str(error)))


def _check_configs() -> None:
    """Refuses another package of this name, which hides this one's."""
    try:
        from configs import base

        found = pathlib.Path(base.__file__).parent
    except ImportError as error:
        found = pathlib.Path(error.path or "configs").parent
    if not (found.is_dir() and found.samefile(CONFIGS)):
        refuse(
            f"the package configs in {found} hides that of glam_jax, {CONFIGS}; run "
            "this in another folder, with the path of your config file"
        )


def _with_config_file(argv: list[str]) -> list[str]:
    """The same arguments; the config file that they name is there."""
    found, rest = [], iter(argv)
    for argument in rest:
        if argument in ("--config", "-config"):
            argument = f"--config={next(rest, '')}"
        if re.match("--?config=", argument):
            argument = f"--config={_config_file(argument.partition('=')[2])}"
        found.append(argument)
    return found


def _config_file(value: str) -> str:
    """The value of --config, without '~'."""
    try:
        path = paths.local(value, "--config")
    except ValueError as error:
        refuse(str(error))
    name, colon, words = str(path).partition(":")
    if not pathlib.Path(name).is_file():
        refuse(_no_config_file(pathlib.Path(name)))
    return name + colon + words


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
    names = [p.stem for p in sorted(CONFIGS.glob("*.py")) if p.stem not in _NO_CONFIGS]
    return (
        f"there is no config file {path.absolute()}; in {CONFIGS} there are "
        f"{', '.join(names)}"
    )


def set_up_jax() -> None:
    """Imports JAX, which takes seconds, and sets it up before anything else does."""
    from glam_jax import parallel

    parallel.use_cpu_cores()
    parallel.use_compilation_cache()
    parallel.use_single_precision()
