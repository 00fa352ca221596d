"""The table of models, and what a network that lacks something is told."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from glam_jax import models
from glam_jax.models import traits

SHAPE = (5, 7)


class Plain(nn.Module):
    """The least that a network must be."""

    num_classes: int

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes)(self.body(x.reshape(len(x), -1), train))

    def body(self, x, train):
        return x


class Normalised(Plain):
    def body(self, x, train):
        return nn.BatchNorm(use_running_average=not train)(x)


class NormalisedOverDevices(Plain):
    batch_axis: str | None = None

    def body(self, x, train):
        axis = self.batch_axis
        return nn.BatchNorm(use_running_average=not train, axis_name=axis)(x)


class Dropping(Plain):
    def body(self, x, train):
        self.sow("intermediates", "embedding", x)
        return nn.Dropout(0.5, deterministic=not train)(x)


class Sequential(nn.Module):
    num_classes: int

    def __call__(self, x):
        return x


class WithoutClasses(nn.Module):
    def __call__(self, x, train):
        return x


class OfBatch(Plain):
    def body(self, x, train):
        return x.T


class Constant(nn.Module):
    num_classes: int

    def __call__(self, x, train):
        return jnp.zeros((len(x), self.num_classes))


class Counting(Plain):
    def body(self, x, train):
        self.variable("counts", "calls", lambda: jnp.zeros(()))
        return x


class Noisy(Plain):
    def body(self, x, train):
        return x + jax.random.normal(self.make_rng("noise"), x.shape)


class NoisyInTraining(Plain):
    def body(self, x, train):
        return Noisy.body(self, x, train) if train else x


class OnSegments(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes)(x)


class Integers(Plain):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.num_classes)(x.reshape(len(x), -1)).astype(int)


class Two(Plain):
    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(self.num_classes)(x.reshape(len(x), -1))
        return x, x


class TwoReadings(Plain):
    """Two when it is trained, and their mean when it is asked."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(2 * self.num_classes)(x.reshape(len(x), -1))
        readings = x.reshape(len(x), 2, self.num_classes).swapaxes(0, 1)
        return readings if train else readings.mean(axis=0)


class MapAsEmbedding(Plain):
    def body(self, x, train):
        self.sow("intermediates", "embedding", x[..., None])
        return x


class Small(Plain):
    def body(self, x, train):
        raise ValueError("segments of 100 x 100 are needed")


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (Plain, traits.Traits(False, False, False, splittable=True)),
        (Normalised, traits.Traits(True, False, False, splittable=False)),
        (NormalisedOverDevices, traits.Traits(True, False, False, splittable=True)),
        (Dropping, traits.Traits(False, True, True, splittable=False)),
        (TwoReadings, traits.Traits(False, False, False, splittable=True)),
    ],
)
def test_what_a_network_does_is_found(network, found):
    assert models.check(network(4), SHAPE, 4) == found


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Sequential, r"Sequential cannot be called as model\(x, train=False\)"),
        (OfBatch, "OfBatch fails on segments of 5 x 7: ScopeParamShapeError: "),
        (Constant, "Constant has no parameters"),
        (Counting, "Counting keeps counts; .* only params and batch_stats"),
        (Noisy, "Noisy draws random numbers with train=False"),
        (NoisyInTraining, "another random stream than 'dropout'"),
        (OnSegments, r"shape \(2, 5, 4\) for a batch of 2 and 4 .* of \(2, 4\)"),
        (Integers, "logits of int32, which is not a floating-point type"),
        (Two, "a tuple instead of one array"),
        (MapAsEmbedding, r"embedding of shape \(2, 35, 1\) .* \(batch, features\)"),
        (Small, "^segments of 100 x 100 are needed"),
    ],
)
def test_what_a_network_lacks_is_said_in_a_sentence(network, message):
    with pytest.raises(ValueError, match=message) as refused:
        models.check(network(4), SHAPE, 4)
    assert "\n" not in str(refused.value)


def test_a_network_of_ones_own_is_created_by_its_name():
    name = f"{__name__}:NormalisedOverDevices"
    model = models.create_model(name, 3, batch_axis="data")
    assert model == NormalisedOverDevices(3, batch_axis="data")
    assert models.create_model(f"{__name__}:Plain", 3, batch_axis="data") == Plain(3)
    assert not models.row(name).recipe and not models.row(name).figures


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("gram", {}, r"no model 'gram'; did you mean glam\? There are glam, glam5, "),
        ("xyz", {}, "no model 'xyz'; there are glam, .*, or package.module:Class"),
        ("SELF:SHAPE", {}, "is not a flax.linen.Module"),
        ("SELF:WithoutClasses", {}, "has no field num_classes"),
        ("SELF:Nothing", {}, "there is no 'Nothing' in "),
        ("SELF:Plain", {"width": 3}, "cannot be made: .*'width'"),
        ("glam", {"width": 3}, "cannot be made: .*'width'"),
    ],
)
def test_what_is_no_network_is_refused_in_a_sentence(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        models.create_model(name.replace("SELF", __name__), 4, **overrides)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_passes_the_check_and_may_be_split(name):
    found = models.check(models.create_model(name), (26, 57), 4)
    assert found.has_batch_stats and found.has_embedding and found.splittable
    assert found.draws_random_numbers == (
        name in ("aacnn", "multiscale_aa", "glam_plus")
    )


def test_the_table_imports_neither_jax_nor_flax():
    code = (
        "import sys; from glam_jax import models, paper; "
        "print({'jax', 'flax'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
