"""Checkpoints of one run: the latest and the best, written asynchronously.

A checkpoint has two items: `weights`, all that is needed to use the network, and
`training`, all else that is needed to go on.
"""

import functools
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from glam_jax import metrics, steps, weights

WEIGHTS, TRAINING = "weights", "training"


def manager(folder: pathlib.Path, selection: str) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run, which are numbered by training steps.

    The policies keep the latest and the best; `max_to_keep` with `best_fn` would delete
    the latest. Without `best_fn` Orbax would not store the metrics to rank by.

    Args:
      folder: The folder of the run's checkpoints.
      selection: What the best epoch is, see `metrics.rank`.
    """
    rank = functools.partial(metrics.rank, selection=selection)
    best = checkpoint_managers.BestN(
        get_metric_fn=rank,
        n=1,
        keep_checkpoints_without_metrics=False,
    )
    return ocp.CheckpointManager(
        folder.absolute(),
        options=ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                [checkpoint_managers.LatestN(1), best]
            ),
            save_decision_policy=_Always(),
            best_fn=rank,
        ),
    )


class _Always:
    """The training loop decides when to save."""

    def should_save(self, *args, **kwargs) -> bool:
        return True


def save(
    manager: ocp.CheckpointManager, state: steps.TrainState, row: dict[str, Any] | None
) -> None:
    """Begins to save a state of numpy arrays; its `step` numbers the checkpoint.

    Args:
      manager: The checkpoints of the run.
      state: What to save.
      row: The finished epoch's row of metrics.jsonl, None in the middle of an epoch.
    """
    step = int(state.step)
    if manager.latest_step() == step:  # stopped before another step
        return
    items = {name: ocp.args.StandardSave(x) for name, x in _items(state).items()}
    manager.save(step, args=ocp.args.Composite(**items), metrics=row)
    if jax.process_count() > 1:  # the barriers of two runs' saves would meet
        manager.wait_until_finished()


def restore(
    manager: ocp.CheckpointManager, like: steps.TrainState, step: int
) -> steps.TrainState:
    """Reads a checkpoint into a state like `like`, as numpy arrays."""
    items = {
        name: ocp.args.StandardRestore(jax.tree.map(weights.zeros, x))
        for name, x in _items(like).items()
    }
    restored = manager.restore(step, args=ocp.args.Composite(**items))
    return like.replace(**restored[WEIGHTS], **restored[TRAINING])


def weights_folder(run_folder: pathlib.Path, step: int) -> pathlib.Path:
    """Where the weights of a run's checkpoint lie."""
    return run_folder / str(step) / WEIGHTS


def _items(state: steps.TrainState) -> dict[str, dict[str, Any]]:
    return {
        WEIGHTS: steps.variables(state),
        TRAINING: {
            "step": state.step,
            "opt_state": state.opt_state,
            "loss_sum": state.loss_sum,
        },
    }
