r"""Trains and evaluates a model, and reports. For example:

  python -m glam_jax.main --config=configs/iemocap.py
  python -m glam_jax.main --config=configs/iemocap.py:full --config.protocol=session
  python -m glam_jax.main --config=configs/emodb.py --config.num_runs=3
  python -m glam_jax.main --config=configs/iemocap.py:impro,model=mhcnn,recipe=glam

Every field of a config file can be set as --config.FIELD=VALUE. The same command goes
on with an interrupted training.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import os
import sys

from absl import app, flags

from data_prep import paths, signals
from glam_jax import command, prepared, results, values

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    command.define_config()
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder of the results (default: runs/CORPUS_SPLITS_MODEL_PROTOCOL).",
    )
    flags.DEFINE_string(
        "coordinator",
        None,
        "Trains with other processes, started by the same command: HOST:PORT of "
        "process 0, or auto on a TPU pod or under SLURM. They share the folder of the "
        "results.",
    )
    flags.DEFINE_integer("num_processes", None, "Unless auto.", 1)
    flags.DEFINE_integer("process_id", None, "From 0, unless auto.", 0)


def default_workdir(config) -> str:
    """The folder of the results of a config."""
    model = config.model.replace(":", ".")  # of one's own
    names = [config.corpus, *config.tfds_splits, model, config.protocol]
    return "runs/" + "_".join(names)


def main(argv: list[str]) -> None:
    command.run_by_flags(argv, train)


def train() -> None:
    """Trains the config of the flags and prints its table."""
    config = FLAGS.config
    values.check(config)
    workdir = paths.local(FLAGS.workdir or default_workdir(config), "--workdir")
    finished = (workdir / results.REPORT).exists()
    if not finished and (commands := prepared.missing(config)):
        raise ValueError(prepared.not_prepared(commands, config.data_dir))
    command.set_up_jax()  # not before flags and values are read: it takes seconds
    from glam_jax import by_corpus, parallel, report, train

    parallel.connect(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
    signals.stop_at_once()  # again: JAX's own watch for SIGTERM took its place
    parallel.check_devices()
    if not parallel.is_first_process():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    result = train.train_and_evaluate(config, str(workdir))
    parts = [report.title(result), report.table(result), by_corpus.table(result)]
    print("\n" + "\n\n".join(filter(None, parts)) + f"\n\nAll files: {workdir}")


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
