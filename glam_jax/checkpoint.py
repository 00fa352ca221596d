"""Checkpoints of one run: the last two and the best, written asynchronously.

A checkpoint has three items: `weights`, all that is needed to use the network,
`training`, all else that is needed to go on, and `notes` with their digest, by which
damage is found.
"""

import errno
import functools
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from data_prep import paths
from glam_jax import metrics, parallel, steps, weights

# Errors that a checkpoint that is whole can have: of the network, the limits, rights.
_OF_THE_MACHINE = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE, errno.ENFILE)
_OF_THE_MACHINE += (errno.ENOMEM, errno.EACCES, errno.EPERM)
WEIGHTS, TRAINING, NOTES = "weights", "training", "notes"


def manager(folder: pathlib.Path, selection: str) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run, which are numbered by training steps.

    The policies keep the last two and the best; `max_to_keep` with `best_fn` would
    delete the latest. Without `best_fn` Orbax would not store the metrics to rank by.

    Args:
      folder: The folder of the run's checkpoints.
      selection: What the best epoch is, see `metrics.rank`.
    """
    _drop_unreadable(folder)
    # Orbax asks for a float, and compares whatever it gets.
    rank: Callable[[Any], Any] = functools.partial(metrics.rank, selection=selection)
    best = checkpoint_managers.BestN(
        get_metric_fn=rank,
        n=1,
        keep_checkpoints_without_metrics=False,
    )
    return ocp.CheckpointManager(
        folder.absolute(),
        options=ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [checkpoint_managers.LatestN(2), best]
            ),
            save_decision_policy=_Always(),
            best_fn=rank,
        ),
    )


def _drop_unreadable(folder: pathlib.Path) -> None:
    """Deletes the checkpoints whose metrics Orbax could not read: it would not open."""
    for path in sorted(folder.glob("*/metrics/metrics")):
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            print(f"{weights.damaged(path, error)}; its checkpoint is not used")
            if parallel.is_first_process():
                shutil.rmtree(path.parents[1])


class _Always:
    """The training loop decides when to save."""

    def should_save(self, *args, **kwargs) -> bool:
        return True


def save(
    manager: ocp.CheckpointManager,
    state: steps.TrainState,
    row: dict[str, Any] | None,
    notes: dict[str, Any],
) -> None:
    """Begins to save a state of numpy arrays; its `step` numbers the checkpoint.

    Args:
      manager: The checkpoints of the run.
      state: What to save.
      row: The finished epoch's row of metrics.jsonl, None in the middle of an epoch.
      notes: What `notes` shall give back.
    """
    step = int(state.step)
    if manager.latest_step() == step:  # stopped before another step
        return
    items: dict[str, ocp.args.CheckpointArgs] = {
        name: ocp.args.StandardSave(x) for name, x in _items(state).items()
    }
    items[NOTES] = ocp.args.JsonSave(notes | {"sha256": weights.digest(_items(state))})
    manager.save(step, args=ocp.args.Composite(**items), metrics=row)
    if jax.process_count() > 1:  # the barriers of two runs' saves would meet
        manager.wait_until_finished()


class Damaged(ValueError):
    """A checkpoint is not what was saved."""


def restore(
    manager: ocp.CheckpointManager, like: steps.TrainState, step: int
) -> tuple[steps.TrainState, dict[str, Any]]:
    """Reads a checkpoint.

    Args:
      manager: The checkpoints of the run.
      like: A state of the same shapes.
      step: Which checkpoint.

    Returns:
      The state as numpy arrays, and the notes that were saved with it.

    Raises:
      Damaged: When it is not what was saved.
      OSError: When it cannot be read now, which says nothing of what was saved.
    """
    path = pathlib.Path(manager.directory) / str(step)
    items: dict[str, ocp.args.CheckpointArgs] = {
        name: ocp.args.StandardRestore(jax.tree.map(weights.zeros, x))
        for name, x in _items(like).items()
    }
    items[NOTES] = ocp.args.JsonRestore()
    try:
        restored = manager.restore(step, args=ocp.args.Composite(**items))
        used = restored[WEIGHTS]
        used = {"averages": used} if like.averages else used
        state = like.replace(**used, **restored[TRAINING])
        notes = dict(restored[NOTES])
        unchanged = notes.pop("sha256") == weights.digest(_items(state))
    except MemoryError:
        raise
    except Exception as error:  # Orbax and what it stands on raise many kinds
        if paths.tells_of(error, _OF_THE_MACHINE):
            raise OSError(
                f"{path} cannot be read now ({error!s:.200}); the same command goes on"
            ) from error
        raise Damaged(weights.damaged(path, error)) from error
    if not unchanged:
        raise Damaged(f"{path} is damaged (it holds other numbers than were saved)")
    return state, notes


def restore_last(
    manager: ocp.CheckpointManager, like: steps.TrainState
) -> tuple[steps.TrainState, dict[str, Any]] | None:
    """Reads the last checkpoint that is not damaged, and deletes those that are.

    None where there is none. The best one is tried too, since a run needs it at its
    end.
    """
    last = None
    for step in sorted(manager.all_steps()):
        try:
            last = restore(manager, like, step)
        except Damaged as error:
            print(f"{error}; it is not used")
            manager.delete(step)
    return last


def weights_folder(run_folder: pathlib.Path, step: int) -> pathlib.Path:
    """Where the weights of a run's checkpoint lie."""
    return run_folder / str(step) / WEIGHTS


def _items(state: steps.TrainState) -> dict[str, dict[str, Any]]:
    training = {
        "step": state.step,
        "opt_state": state.opt_state,
        "loss_sum": state.loss_sum,
    }
    if state.averages:  # the weights are those
        training |= steps.trained(state)
    return {WEIGHTS: steps.variables(state), TRAINING: training}
