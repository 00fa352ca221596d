"""Checkpoints of one run: the latest and the best, written asynchronously."""

import functools
import pathlib
from typing import Any

import flax
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from glam_jax import metrics


def manager(folder: pathlib.Path, selection: str) -> ocp.CheckpointManager:
    """Opens the checkpoints of a run, which are numbered by training steps.

    The policies keep the latest and the best; `max_to_keep` with `best_fn` would delete
    the latest. Without `best_fn` Orbax would not store the metrics to rank by.

    Args:
      folder: of the run's checkpoints.
      selection: what the best epoch is, see `metrics.rank`.
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
    manager: ocp.CheckpointManager, state: Any, row: dict[str, Any] | None
) -> None:
    """Begins to save a state of numpy arrays; its `step` numbers the checkpoint.

    Args:
      manager: of the run.
      state: what to save.
      row: the finished epoch's row of metrics.jsonl, None in the middle of an epoch.
    """
    if manager.latest_step() == int(state.step):  # stopped before another step
        return
    state_dict = flax.serialization.to_state_dict(state)
    manager.save(int(state.step), args=ocp.args.StandardSave(state_dict), metrics=row)
    if jax.process_count() > 1:  # the barriers of two runs' saves would meet
        manager.wait_until_finished()


def restore(manager: ocp.CheckpointManager, like: Any, step: int) -> Any:
    """Reads a checkpoint into a state like `like`, as numpy arrays."""
    target = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        flax.serialization.to_state_dict(like),
    )
    restored = manager.restore(step, args=ocp.args.StandardRestore(target))
    return flax.serialization.from_state_dict(like, restored)
