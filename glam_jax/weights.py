"""The files of a trained network: model.json, which describes it, and its weights."""

import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax
import jax
import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy
from flax import linen as nn

from data_prep import features, text
from glam_jax import results

if TYPE_CHECKING:
    from data_prep import records

MODEL = results.MODEL
FORMAT = 1  # of model.json
_SEPARATOR = "/"  # of the names in a .safetensors file
CHECKPOINTS = "checkpoints"


def describe(
    model: str,
    class_names: Sequence[str],
    dtype: str,
    data_set: "records.DataSet",
    feature_shape: tuple[int, int],
    inputs: Mapping[str, Any],
) -> dict[str, Any]:
    """What model.json says of a network: what it reads and what it tells apart.

    Args:
      model: The network, as in `models.create_model`.
      class_names: The classes, in the order of the logits.
      dtype: The precision to compute in.
      data_set: The corpus, and how recordings are cut and seen in tests.
      feature_shape: (frequency, time) of a segment.
      inputs: What is done to segments before the network.
    """
    return {
        "format": FORMAT,
        "model": model,
        "classes": list(class_names),
        "dtype": dtype,
        "features": {
            "kind": data_set.features,
            "pad_mode": data_set.pad_mode,
            "segment": data_set.segment,
            "hop": data_set.hop,
            "shape": [int(size) for size in feature_shape],
            **data_set.own_features(),
        },
        "inputs": dict(inputs),
        "corpus": data_set.corpus,
    }


def read(folder: pathlib.Path) -> dict[str, Any]:
    """Reads model.json.

    Raises:
      ValueError: When there is none, none that this version reads, or that of a linear
        classifier; it says what to do.
    """
    path = folder / MODEL
    if not path.is_file():
        if (folder / CHECKPOINTS).exists():
            raise ValueError(
                f"{folder} was trained by an earlier version of glam_jax (it has no "
                f"{MODEL}); train again, in another --workdir"
            )
        raise ValueError(
            f"{folder.absolute()} holds no trained model (no {MODEL}). Give the "
            "--workdir of a training: python -m glam_jax.main --config=..."
        )
    try:
        description = results.read_json(path)
        if "evaluation" in description:
            raise ValueError(
                f"{folder} holds the evaluation of a model and no model; give the "
                f"model: {description['evaluation']['model']}"
            )
        found = description["format"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); train again") from error
    if found != FORMAT:
        versions = description.get("provenance", {}).get("versions", {})
        raise ValueError(
            f"{path} has format {found}, and this version of glam_jax reads {FORMAT}; "
            f"install the version that wrote it: {versions.get('glam_jax')}"
        )
    if features.is_of_whole(description["features"]["kind"]):
        raise ValueError(
            f"{folder} is the floor of a corpus (python -m glam_jax.floor): it is "
            "measured, and listens to nothing else"
        )
    return description


def is_transductive(description: Mapping[str, Any]) -> bool:
    """Whether a model must know all recordings of a speaker, see `input_pipeline.load`.

    Args:
      description: What model.json holds.
    """
    return description.get("inputs", {}).get("normalise") == "speaker"


def short(description: Mapping[str, Any]) -> str:
    """What fills up the segment of a short recording, see `features.segment`.

    Args:
      description: What model.json holds.
    """
    return description.get("inputs", {}).get("short", "repeat")


def inside(folder: pathlib.Path, name: str) -> pathlib.Path:
    """The path of weights that model.json names.

    Raises:
      ValueError: When they are not there, or lie outside the folder.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.exists():
        raise ValueError(f"{folder}: the weights {name} are not there; train again")
    return path


def shapes(model: nn.Module, feature_shape: tuple[int, int]) -> dict[str, Any]:
    """{'params', 'batch_stats'} of a network's variables, as shapes of 32 bits.

    Args:
      model: The network.
      feature_shape: (frequency, time) of a segment.
    """
    segment = np.zeros((1, *feature_shape), np.float32)
    with jax.enable_x64(False):
        found = jax.eval_shape(
            lambda: model.init(jax.random.key(0), segment, train=False)
        )
    return {kind: found.get(kind, {}) for kind in ("params", "batch_stats")}


def digest(tree: Any) -> str:
    """The SHA-256 of all leaves of a tree, with their names, types and shapes."""
    sha256 = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        leaf = np.asarray(leaf)
        name = f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}"
        sha256.update(name.encode())
        sha256.update(np.ascontiguousarray(leaf).tobytes())
    return sha256.hexdigest()


def save(path: pathlib.Path, variables: dict[str, Any]) -> None:
    """Writes weights as a .safetensors file, in one step.

    Args:
      path: The file.
      variables: {'params', 'batch_stats'} of arrays.
    """
    tensors = flax.traverse_util.flatten_dict(variables, sep=_SEPARATOR)
    text.write_bytes(
        path,
        safetensors.numpy.save(
            {name: np.array(leaf, order="C") for name, leaf in tensors.items()}
        ),
    )


def restore(path: pathlib.Path, like: dict[str, Any], expected: str) -> dict[str, Any]:
    """Reads weights, as numpy arrays.

    Args:
      path: A file made by `save`, or the folder of a training's checkpoint.
      like: {'params', 'batch_stats'} of arrays or shapes as they are there.
      expected: Their `digest`.

    Raises:
      ValueError: When they are damaged.
    """
    try:
        if path.is_file():
            tensors = safetensors.numpy.load_file(path)
            nested = flax.traverse_util.unflatten_dict(tensors, sep=_SEPARATOR)
            variables = {kind: nested.get(kind, {}) for kind in like}
        else:
            with ocp.StandardCheckpointer() as checkpointer:
                variables = checkpointer.restore(
                    path.absolute(), jax.tree.map(zeros, like)
                )
    except Exception as error:  # Orbax and what it stands on raise many kinds
        raise ValueError(f"{damaged(path, error)}; train again") from error
    if digest(variables) != expected:
        raise ValueError(f"{path} is damaged (other weights than saved); train again")
    return variables


def damaged(path: pathlib.Path, error: Exception) -> str:
    """That a file or folder is damaged, and why, in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{path} is damaged ({type(error).__name__}: {lines[0]:.200})"


def zeros(leaf: Any) -> np.ndarray:
    """Zeros of a leaf's shape and type, for Orbax to fill."""
    return np.zeros(leaf.shape, leaf.dtype)
