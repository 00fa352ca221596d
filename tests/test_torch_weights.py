"""Conversion of a PyTorch state_dict: what does not fit is refused by name."""

import numpy as np
import pytest
from helpers import reference

from glam_jax import torch_weights


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
