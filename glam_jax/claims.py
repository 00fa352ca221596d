"""Whose a folder of results is: one config's, and one process's at a time."""

from data_prep.claims import LOCK, Held, hold, owner

__all__ = ["LOCK", "WITHOUT_EFFECT", "Held", "hold", "owner"]

# Fields of a config that say where and how, and do not change the numbers.
WITHOUT_EFFECT = (
    "data_dir",
    "parallel",
    "runs_per_group",
    "input",
    "input_workers",
)
