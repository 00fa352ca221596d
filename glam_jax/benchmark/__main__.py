r"""Measures speed and memory, and prints them as a table. For example:

  python -m glam_jax.benchmark --config=configs/emodb.py
  python -m glam_jax.benchmark --config=configs/emodb.py --cases=speed --peer=torch
  python -m glam_jax.benchmark --target=tpu:v5e:2x2
  python -m glam_jax.benchmark --target=cuda

On this machine (local), some steps of training and of inference are timed; the data set
must be prepared. Other work on the machine disturbs: look at the load that is printed.
For tpu and cuda the training step is compiled, without such a device.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import os
import pathlib
import platform
import re
from collections.abc import Iterable, Iterator

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from data_prep import paths
from glam_jax import command

CASES = ("speed", "runs", "devices", "segments", "preparation")

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    config_flags.DEFINE_config_file(
        "config",
        "configs/demo.py",
        "Config file, with an argument after a colon.",
        lock_config=True,
    )
    flags.DEFINE_string(
        "target", "local", "local, tpu:TOPOLOGY such as tpu:v5e:2x2, or cuda."
    )
    flags.DEFINE_multi_enum(
        "cases",
        list(CASES),
        CASES,
        "Of local: speed (one run), runs (1 ... 16 at once), devices (1 ... 4 virtual "
        "ones, on a CPU), segments (1 ... 10 times as many, resident and streamed), "
        "preparation (of the demo corpus). May be repeated.",
    )
    flags.DEFINE_list("models", [], "Of local: models (default: the config's).")
    flags.DEFINE_enum("peer", None, ["torch"], "Times PyTorch too, in turn.")
    flags.DEFINE_integer("repeats", 5, "Rounds measured.", lower_bound=1)
    flags.DEFINE_integer("steps", 8, "Training steps in a round.", 1)
    flags.DEFINE_string("out", None, "File that receives the rows as JSON lines.")


def local_rows(config: ml_collections.ConfigDict) -> Iterator:
    """What the flags ask for, measured on this machine."""
    from glam_jax.benchmark import local

    count, repeats = FLAGS.steps, FLAGS.repeats
    for model in FLAGS.models or [config.model]:
        config.model = model
        if FLAGS.peer:
            yield from local.compared(config, count, repeats, FLAGS.peer)
            continue
        if "speed" in FLAGS.cases:
            yield from local.speed(config, count, repeats)
        for name, make in (
            ("runs", local.over_runs),
            ("devices", local.over_devices),
            ("segments", local.over_segments),
        ):
            if name == "devices" and not local.is_cpu():
                continue
            if name in FLAGS.cases:
                yield from local.timed(make(config, count), repeats)
    if "preparation" in FLAGS.cases and not FLAGS.peer:
        yield from local.preparation(repeats)


def target_rows(config: ml_collections.ConfigDict, target: str) -> Iterable:
    """What the flags ask for.

    Raises:
      ValueError: for a target that is none, or whose compiler is missing.
    """
    from glam_jax import prepared
    from glam_jax.benchmark import compiled

    name, _, topology = target.partition(":")
    ((data_set, *_), *_) = prepared.cuts(config)
    if name == "tpu":
        return compiled.tpu_rows(config, topology, data_set.feature_shape())
    if target == "cuda":
        return compiled.cuda_rows(config, data_set.feature_shape())
    if target != "local":
        raise ValueError(
            f"no target {target!r}; there are local, tpu:TOPOLOGY and cuda"
        )
    return local_rows(config)


def machine() -> str:
    """Processor, cores, load and versions in words."""
    import jax
    import joblib

    cpuinfo = pathlib.Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    return (
        f"{name[1] if name else platform.processor()}, {joblib.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}; jax {jax.__version__}"
    )


def measure() -> None:
    """Prints the table of the flags' target, and writes its rows."""
    out = paths.local(FLAGS.out, "--out") if FLAGS.out else None
    command.set_up_jax()
    from glam_jax.benchmark import rows as rows_lib

    print(machine(), flush=True)
    rows = list(target_rows(FLAGS.config, FLAGS.target))
    print(f"\n{rows_lib.table(rows)}")
    if out:
        from glam_jax import workdir

        workdir.write_atomically(out, rows_lib.json_lines(rows))


def main(argv: list[str]) -> None:
    command.run_by_flags(argv, measure)


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
