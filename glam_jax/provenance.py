"""Where a result comes from: versions, devices, command, commit, time, and data."""

import datetime
import hashlib
import importlib.metadata
import json
import pathlib
import platform
import shlex
import subprocess
import sys
from typing import Any

import glam_jax
from glam_jax import input_pipeline, parallel

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def begin(dataset: input_pipeline.Dataset) -> dict[str, Any]:
    """What is known when a training begins or goes on.

    Args:
      dataset: The utterances that it uses.

    Returns:
      'versions', 'devices', 'command', 'commit' (None outside a checkout),
      'data_digest' and 'started' (UTC).
    """
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    versions |= {
        "glam_jax": glam_jax.__version__,
        "python": platform.python_version(),
    }
    return {
        "versions": versions,
        "devices": parallel.describe(),
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "commit": commit(),
        "data_digest": digest(dataset),
        "started": now(),
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def commit() -> str | None:
    """The git commit of this package, '-dirty' after it where files were changed.

    None where the package is not in a checkout of its own.
    """
    root = pathlib.Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    describe = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty",
    ]
    try:
        result = subprocess.run(
            [*describe, "--exclude=*"],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()


def digest(dataset: input_pipeline.Dataset) -> str:
    """The SHA-256 of the utterances that a training uses, with all that decides them.

    Equal for equal ids, contents, labels, groups, and cuts into segments.
    """
    sha256 = hashlib.sha256()
    groups = [getattr(dataset.groups, name) for name in input_pipeline.GROUPS]
    described = {
        "classes": dataset.class_names,
        "features": [int(size) for size in dataset.features.shape],
        "cuts": [
            int(bound)
            for cut in (dataset.training, dataset.testing)
            for bound in (cut.start, cut.stop)
        ],
    }
    sha256.update(json.dumps(described).encode())
    for row in zip(dataset.ids, dataset.labels.tolist(), *groups, strict=True):
        sha256.update(json.dumps([str(cell) for cell in row]).encode())
    return sha256.hexdigest()
