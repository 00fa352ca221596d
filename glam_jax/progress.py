"""What a person sees of a training: a line for each epoch, and TensorBoard's files."""

import pathlib
import time
from collections.abc import Sequence

from glam_jax import metrics, runs

try:
    import tensorboardX
except ImportError:  # the extra `tensorboard` is not installed
    tensorboardX = None


class Progress:
    """Prints epochs with the time left, and writes them for TensorBoard."""

    def __init__(self, all_runs: Sequence[runs.Run], num_epochs: int):
        self._all_runs = all_runs
        self._num_epochs = num_epochs
        self._start = time.time()
        self._steps = 0  # trained since then
        self._writer = None

    def begin_run(self, run: runs.Run, epochs_done: int, folder: pathlib.Path) -> None:
        """Says which run begins, or goes on after `epochs_done` epochs."""
        fold = f", fold {run.fold}" if run.fold else ""
        print(
            f"run {run.number + 1} of {len(self._all_runs)} (seed {run.seed}{fold}): "
            f"{len(run.split.train)} utterances ({len(run.train_segments)} segments) "
            f"train, {len(run.split.test)} test"
            + (
                f", {len(run.split.validation)} validate"
                if len(run.split.validation)
                else ""
            )
            + (f"; goes on after epoch {epochs_done}" if epochs_done else ""),
            flush=True,
        )
        if tensorboardX is not None:
            self._writer = tensorboardX.SummaryWriter(
                str(folder / "tensorboard" / f"run_{run.number:03d}"),
                purge_step=epochs_done + 1,
            )

    def epoch(self, run: runs.Run, row: dict) -> None:
        """Shows a finished epoch: its row of metrics.jsonl."""
        self._steps += run.steps_per_epoch
        to_do = run.steps_per_epoch * (self._num_epochs - row["epoch"]) + sum(
            other.steps_per_epoch * self._num_epochs
            for other in self._all_runs
            if other.number > run.number
        )
        left = (time.time() - self._start) / self._steps * to_do
        print(
            f"  epoch {row['epoch']:3d}/{self._num_epochs}  loss {row['loss']:.4f}  "
            f"lr {row['learning_rate']:.2e}  "
            + "  ".join(f"{metrics.TITLES[n]} {row[n]:5.2f}" for n in ("wa", "ua"))
            + f"  {row['segments_per_second']:.0f} segments/s  "
            f"{duration(left)} left",
            flush=True,
        )
        if self._writer is not None:
            for name in ("loss", "learning_rate", *metrics.NAMES):
                self._writer.add_scalar(name, row[name], row["epoch"])

    def end_run(self) -> None:
        """Closes TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def duration(seconds: float) -> str:
    """Seconds in words: '42 s', '3 min 05 s', '2 h 07 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds // 60 % 60:02d} min"
