r"""Trains and evaluates a model, and reports. For example:

  python -m glam_jax.main --config=configs/iemocap.py
  python -m glam_jax.main --config=configs/iemocap.py:full --config.protocol=session
  python -m glam_jax.main --config=configs/emodb.py --config.num_runs=3
  python -m glam_jax.main --config=configs/iemocap.py:impro,model=mhcnn,recipe=glam

Every field of a config file can be set as --config.FIELD=VALUE. The same command goes
on with an interrupted training.
"""

import os
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from data_prep import paths
from glam_jax import command, values

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, with an argument after a colon.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the results (default: runs/CORPUS_SPLITS_MODEL_PROTOCOL).",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Trains with other processes, started by the same command: HOST:PORT of process 0, "
    "or auto on a TPU pod or under SLURM. They share the folder of the results.",
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Unless auto.", 1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "From 0, unless auto.", 0)
flags.mark_flag_as_required("config")


def default_workdir(config) -> str:
    """The folder of the results of a config."""
    model = config.model.replace(":", ".")  # of one's own
    names = [config.corpus, *config.tfds_splits, model, config.protocol]
    return "runs/" + "_".join(names)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"arguments not understood: {argv[1:]}")
    logging.set_verbosity(logging.ERROR)
    command.run(train)


def train() -> None:
    """Trains the config of the flags and prints its table."""
    config = _CONFIG.value
    values.check(config)
    workdir = paths.local(_WORKDIR.value or default_workdir(config), "--workdir")
    command.set_up_jax()  # not before flags and values are read: it takes seconds
    from glam_jax import parallel, report, train

    parallel.connect(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    parallel.check_devices()
    if not parallel.is_first_process():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    result = train.train_and_evaluate(config, str(workdir))
    print(f"\n{report.title(result)}\n\n{report.table(result)}\n\nAll files: {workdir}")


if __name__ == "__main__":
    app.run(main, flags_parser=command.parse)
