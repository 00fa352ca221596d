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
from data_prep import names
from glam_jax import input_pipeline, parallel

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


def begin(dataset: input_pipeline.Dataset, model: str = "") -> dict[str, Any]:
    """What is known when a training begins or goes on.

    Args:
      dataset: The utterances that it uses.
      model: The network, which may be one of one's own.

    Returns:
      'versions', 'devices', 'command', 'commit' (None outside a checkout),
      'data_digest', 'started' (UTC), and 'network_sha256', that of the file of a
      network of one's own.
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
        "network_sha256": names.source_digest(model),
    }


def went_on(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """The provenance of a training that goes on: what is now, and what was before.

    Args:
      before: That of the earlier part; {} where there is none.
      now: What `begin` gave.

    Returns:
      'started' is that of the first part; 'earlier' has versions, devices, commit and
      command of the parts that were made elsewhere, or otherwise.
    """
    told = ("versions", "devices", "commit", "command")
    earlier = [*before.get("earlier", ())]
    if any(before.get(name) != now[name] for name in told[:3]) and before:
        earlier.append({name: before.get(name) for name in told})
    started = before.get("started") or now["started"]
    return now | {"started": started, "ended": None, "earlier": earlier}


def earlier_parts(made: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines for a report on the parts of a training that were made otherwise.

    Args:
      made: What `went_on` gave.
    """
    return [
        (
            "before that",
            f"{', '.join(f'{k} {v}' for k, v in part['versions'].items())}; "
            f"{part['devices']}; commit {part['commit'] or 'not a checkout'}; "
            f"{part['command']}",
        )
        for part in made.get("earlier", ())
    ]


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
