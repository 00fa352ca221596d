"""Conversion of a PyTorch state_dict: what does not fit is refused by name."""

import pickle

import numpy as np
import pytest
import safetensors.numpy
from helpers import reference

import glam_jax
from data_prep import features
from glam_jax import torch_weights

CLASSES = ("neutral", "sad", "angry", "happy")


@pytest.fixture
def state_dict():
    return reference("glam")[1]


def test_counters_of_batch_norm_are_ignored(state_dict):
    expected = torch_weights.from_state_dict("glam", state_dict)
    state_dict["bn1a.num_batches_tracked"] = np.array(7)
    converted = torch_weights.from_state_dict("glam", state_dict)
    np.testing.assert_equal(converted, expected)


def test_a_missing_tensor_is_named(state_dict):
    del state_dict["conv4.bn.running_var"]
    with pytest.raises(ValueError, match="batch_stats/block3/norm/var"):
        torch_weights.from_state_dict("glam", state_dict)


def test_an_unknown_tensor_is_named(state_dict):
    state_dict["conv9.weight"] = np.zeros((1, 1, 3, 3))
    with pytest.raises(ValueError, match=r"conv9\.weight"):
        torch_weights.from_state_dict("glam", state_dict)


def test_another_feature_shape_is_refused_with_both_shapes(state_dict):
    with pytest.raises(ValueError, match=r"\(23296, 4\).*\(21632, 4\)"):
        torch_weights.from_state_dict("glam", state_dict, feature_shape=(26, 52))


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="resnet"):
        torch_weights.from_state_dict("resnet", {})


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_a_pytorch_model_is_loaded_from_a_folder(state_dict, tmp_path, kind):
    """It answers as the network does with the converted weights."""
    file = tmp_path / f"glam.{kind}"
    if kind == "npz":
        np.savez(file, **state_dict)
    else:
        safetensors.numpy.save_file(state_dict, file)
    torch_weights.write_folder(file, tmp_path / "model", "glam", CLASSES)
    model = glam_jax.load(tmp_path / "model")
    wave = np.random.default_rng(0).normal(0, 0.1, 48000).astype(np.float32)
    network = glam_jax.create_model("glam")
    segments = features.segment(wave, 28800, 3199)
    logits = network.apply(
        torch_weights.from_state_dict("glam", state_dict),
        features.extract("mfcc", segments),
        train=False,
    )
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.over_time(wave)[1], expected, atol=1e-5)
    assert model.class_names == CLASSES
    with pytest.raises(ValueError, match="holds a model already"):
        torch_weights.write_folder(file, tmp_path / "model", "glam", CLASSES)


def test_a_pickle_is_refused_unopened(tmp_path):
    file = tmp_path / "glam.pt"
    file.write_bytes(pickle.dumps({}))
    with pytest.raises(ValueError, match="opening a pickle can run code"):
        torch_weights.write_folder(file, tmp_path / "model", "glam", CLASSES)
    with open(tmp_path / "objects.npz", "wb") as file:
        np.savez(file, **{"fc.bias": np.array([{}], object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        torch_weights.write_folder(file.name, tmp_path / "model", "glam", CLASSES)


def test_another_number_of_classes_is_refused(state_dict, tmp_path):
    np.savez(tmp_path / "glam.npz", **state_dict)
    with pytest.raises(ValueError, match="tells 4 classes apart, not sad, angry"):
        torch_weights.write_folder(
            tmp_path / "glam.npz", tmp_path / "model", "glam", ("sad", "angry")
        )
