"""What a person sees of a training: a line for each epoch, and TensorBoard's files."""

import pathlib
import time
from collections.abc import Sequence

from data_prep import text
from glam_jax import metrics, parallel, runs

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
        self._steps = 0  # trained since then, of all runs
        self._writers = {}

    def begin_group(
        self, group: Sequence[runs.Run], epochs_done: int, folder: pathlib.Path
    ) -> None:
        """Says which runs begin, or go on after `epochs_done` epochs."""
        numbers = [run.number + 1 for run in group]
        folds = ", ".join(dict.fromkeys(run.fold for run in group if run.fold))
        validated = [len(run.split.validation) for run in group]
        print(
            f"run {_range(numbers)} of {len(self._all_runs)} (seed "
            + _range([run.seed for run in group])
            + (f", fold {text.printable(folds)}" if folds else "")
            + f"): {_range([len(run.split.train) for run in group])} utterances "
            f"({_range([len(run.train_segments) for run in group])} segments) train, "
            f"{_range([len(run.split.test) for run in group])} test"
            + (f", {_range(validated)} validate" if any(validated) else "")
            + (f"; goes on after epoch {epochs_done}" if epochs_done else ""),
            flush=True,
        )
        if tensorboardX is None or not parallel.is_first_process():
            return
        try:
            self._writers = {
                run.number: tensorboardX.SummaryWriter(
                    str(folder / "tensorboard" / f"run_{run.number:03d}"),
                    purge_step=epochs_done + 1,
                )
                for run in group
            }
        except OSError as error:  # it takes a semaphore, which needs a /dev/shm
            print(f"no files for TensorBoard ({error}; is there a /dev/shm?)")

    def epoch(self, group: Sequence[runs.Run], rows: Sequence[dict]) -> None:
        """Shows a finished epoch of a group: its rows of metrics.jsonl."""
        epoch = rows[0]["epoch"]
        trained = {row["run"] for row in rows}
        steps = {run.number: run.steps_per_epoch for run in self._all_runs}
        self._steps += sum(steps[number] for number in trained)
        later = group[-1].number
        to_do = sum(
            run.steps_per_epoch * (self._num_epochs - epoch) for run in group
        ) + sum(
            run.steps_per_epoch * self._num_epochs
            for run in self._all_runs
            if run.number > later
        )
        left = (time.time() - self._start) / self._steps * to_do
        mean = {
            key: sum(r[key] for r in rows) / len(rows)
            for key in rows[0]
            if key in ("loss", "learning_rate", *metrics.NAMES)
        }
        speed = sum(row["segments_per_second"] for row in rows)
        print(
            f"  epoch {epoch:3d}/{self._num_epochs}  loss {mean['loss']:.4f}  "
            f"lr {mean['learning_rate']:.2e}  "
            + "  ".join(f"{metrics.TITLES[n]} {mean[n]:5.2f}" for n in ("wa", "ua"))
            + (f" (means of {len(rows)} runs)" if len(rows) > 1 else "")
            + f"  {speed:.0f} segments/s  {duration(left)} left",
            flush=True,
        )
        for row in rows:
            if writer := self._writers.get(row["run"]):
                for name in ("loss", "learning_rate", *metrics.NAMES):
                    writer.add_scalar(name, row[name], row["epoch"])

    def end_group(self) -> None:
        """Closes TensorBoard's files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


def _range(numbers: Sequence[int]) -> str:
    """'234', or '230 to 234'."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def duration(seconds: float) -> str:
    """Seconds in words: '42 s', '3 min 05 s', '2 h 07 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds // 60 % 60:02d} min"
