"""A PyTorch state_dict (as numpy arrays) -> Flax variables, or a folder to load."""

import pathlib
from collections.abc import Mapping, Sequence

import flax
import numpy as np
import safetensors.numpy

from data_prep import paths, records, text
from glam_jax import models, results, weights

# Module of the reference implementation -> module of ours.
_FIRST = {
    "conv1a": "frequency_conv",
    "bn1a": "frequency_norm",
    "conv1b": "time_conv",
    "bn1b": "time_norm",
}
_MULTISCALE = _FIRST | {
    **{
        f"conv{2 + block}.{theirs}": f"block{1 + block}/{ours}"
        for block in range(3)
        for theirs, ours in {"conv3": "conv3", "conv5": "conv5", "bn": "norm"}.items()
    },
    "conv5": "conv",
    "bn5": "norm",
    "fc": "classifier",
}
_GLAM = _MULTISCALE | {
    "gmlp.layers.0.fn.norm": "global_aware/norm",
    "gmlp.layers.0.fn.fn.fn.proj_in.0": "global_aware/expand",
    "gmlp.layers.0.fn.fn.fn.sgu": "global_aware/gate",
    "gmlp.layers.0.fn.fn.fn.sgu.norm": "global_aware/gate/norm",
    "gmlp.layers.0.fn.fn.fn.proj_out": "global_aware/project",
}
_ATTENTION = {
    f"attention_{name}.{head}": f"attention/{name}{head}"
    for name in ("query", "key", "value")
    for head in range(4)
}
_BASELINE = _FIRST | {
    f"{theirs}{number}": f"{ours}{number}"
    for theirs, ours in {"conv": "conv", "bn": "norm"}.items()
    for number in (2, 3, 4, 5)
}

_MODULES = {
    "glam": _GLAM,
    "glam5": _GLAM,
    "glam_single_scale": _GLAM,
    "glam_no_residual": _GLAM,
    "multiscale": _MULTISCALE,
    "multiscale_mha": _MULTISCALE | _ATTENTION,
    "multiscale_aa": _MULTISCALE,
    "apcnn": _BASELINE | {"top_down": "top_down", "bottom_up": "bottom_up"},
    "mhcnn": _BASELINE | _ATTENTION | {"fc": "classifier"},
    "aacnn": _BASELINE | {"fc": "classifier"},
}
_IGNORED = ("num_batches_tracked",)


def from_state_dict(
    name: str,
    state_dict: Mapping[str, np.ndarray],
    feature_shape: tuple[int, int] = (26, 57),
) -> dict:
    """Converts the weights of the reference's PyTorch model to ours.

    Args:
      name: The model, as in `models.create_model`.
      state_dict: Every tensor as a numpy array, by its PyTorch name.
      feature_shape: (frequency, time) of the segments the model was built for.

    Returns:
      {'params': ..., 'batch_stats': ...} for `model.apply`.

    Raises:
      ValueError: For an unknown model, for names that are missing or not known, and
        for a tensor of another shape than ours.
    """
    if name not in _MODULES:
        raise ValueError(
            f"no PyTorch names known for {name!r}; there are {', '.join(_MODULES)}"
        )
    tensors = {
        key: np.asarray(value)
        for key, value in state_dict.items()
        if key.rsplit(".", 1)[-1] not in _IGNORED
    }
    model = models.create_model(name, _num_classes(name, tensors) or 4)
    expected = weights.shapes(model, feature_shape)
    converted = {}
    for key, value in tensors.items():
        module, _, leaf = key.rpartition(".")
        if module not in _MODULES[name]:
            raise ValueError(f"{key}: not a tensor of the reference's {name}")
        path = _MODULES[name][module].split("/")
        converted[_leaf_path(path, leaf, value)] = _ours(path, leaf, value)
    return _checked(converted, flax.traverse_util.flatten_dict(expected))


def write_folder(
    file: str | pathlib.Path,
    folder: str | pathlib.Path,
    name: str,
    class_names: Sequence[str],
    data_set: records.DataSet | None = None,
) -> None:
    """Makes a folder for `glam_jax.load` of a trained PyTorch model of the reference.

    Args:
      file: Its state_dict as .safetensors, or as .npz with a tensor to a name. In
        PyTorch: `safetensors.torch.save_file(model.state_dict(), "glam.safetensors")`
        or `np.savez("glam.npz", **{k: v.numpy() for k, v in state_dict.items()})`.
      folder: The folder to make; it must not hold a model yet.
      name: The model, as in `models.create_model`.
      class_names: The classes, in the order of its outputs.
      data_set: How recordings are cut and seen; None for the paper's MFCC, in segments
        of 1.8 s every 0.2 s.

    Raises:
      ValueError: For another kind of file (such as a pickle, which can run code), a
        folder that holds a model, or weights that do not fit.
    """
    file, folder = pathlib.Path(file), paths.local(folder, "folder")
    if (folder / weights.MODEL).exists():
        raise ValueError(f"{folder} holds a model already; give another folder")
    data_set = data_set or records.DataSet(corpus="")
    shape = data_set.feature_shape()
    state_dict = _read(file)
    variables = from_state_dict(name, state_dict, shape)
    if (count := _num_classes(name, state_dict)) != len(class_names):
        raise ValueError(
            f"{file} tells {count} classes apart, not {', '.join(class_names)}"
        )
    description = weights.describe(
        name, class_names, "float32", data_set, shape, inputs={}
    )
    chosen = {
        "run": 0,
        "weights": "weights.safetensors",
        "sha256": weights.digest(variables),
        "source": file.name,
    }
    folder.mkdir(parents=True, exist_ok=True)
    weights.save(folder / chosen["weights"], variables)
    text.write_text(
        folder / weights.MODEL,
        results.json_text(description | {"runs": [chosen]}),
    )


def _num_classes(name: str, state_dict: Mapping[str, np.ndarray]) -> int:
    return len(state_dict.get("top_down.bias" if name == "apcnn" else "fc.bias", ()))


def _read(file: pathlib.Path) -> dict[str, np.ndarray]:
    if file.suffix == ".safetensors":
        return safetensors.numpy.load_file(file)
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    raise ValueError(
        f"{file}: a state_dict must be .safetensors or .npz, since opening a pickle "
        "can run code. In PyTorch: safetensors.torch.save_file(model.state_dict(), "
        '"glam.safetensors")'
    )


def _leaf_path(module: list[str], leaf: str, value: np.ndarray) -> tuple[str, ...]:
    if leaf.startswith("running_"):
        return ("batch_stats", *module, leaf.removeprefix("running_"))
    if leaf == "weight":
        leaf = "scale" if value.ndim == 1 else "kernel"
    return ("params", *module, leaf)


def _ours(module: list[str], leaf: str, value: np.ndarray) -> np.ndarray:
    """One tensor in our layout."""
    if module[-1] == "gate":  # one mixing matrix, stored with a leading axis of 1
        return value[0]
    if leaf == "weight" and value.shape[2:] == (1, 1):  # a convolution that is Dense
        value = value[:, :, 0, 0]
    if leaf == "weight" and value.ndim == 4:  # (out, in, height, width)
        return value.transpose(2, 3, 1, 0)
    if leaf == "weight" and value.ndim == 2:  # (out, in)
        return value.T
    return value


def _checked(converted: dict, expected: dict) -> dict:
    """Nests `converted`, after a comparison of its names and shapes."""
    missing = sorted("/".join(path) for path in expected.keys() - converted.keys())
    unknown = sorted("/".join(path) for path in converted.keys() - expected.keys())
    if missing or unknown:
        raise ValueError(f"state_dict lacks {missing} and has the unknown {unknown}")
    for path, value in converted.items():
        if value.shape != expected[path].shape:
            raise ValueError(
                f"{'/'.join(path)}: shape {value.shape}, but the model at this "
                f"feature_shape has {expected[path].shape}"
            )
    return flax.traverse_util.unflatten_dict(converted)
