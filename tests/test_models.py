"""Models: parity with the PyTorch reference, sizes, derivatives, forms of layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from helpers import assert_close_to_largest, assert_trees_close, reference

from glam_jax import models, parallel, torch_weights
from glam_jax.models import layers, ops, plus
from glam_jax.models.ops import cpu, normalization

PARAMETERS = {  # at (26, 57)
    "glam": 904_078,
    "glam5": 904_142,
    "glam_single_scale": 818_062,
    "glam_no_residual": 904_078,
    "multiscale": 686_820,
    "multiscale_mha": 879_076,
    "multiscale_aa": 686_820,
    "apcnn": 93_573,
    "mhcnn": 155_636,
    "aacnn": 147_268,
    "glam_plus": 512_249,
}
BASELINES = ("apcnn", "mhcnn", "aacnn")
REFERENCES = [name for name in models.MODELS if name != "glam_plus"]
KEY = jax.random.key(0)
NO_DROPOUT = {  # as the reference's values were computed
    "multiscale_aa": {"dropout_rate": 0.0},
    "aacnn": {"dropout_rate": 0.0},
}


@pytest.mark.parametrize("name", REFERENCES)
def test_evaluation_logits_are_the_references(name):
    golden, _, variables = reference(name)
    # Two attention scores of aacnn's, 38846.4 and 38847.2, share a weight between them.
    # In float32 one rounding of them, 0.004, moves the logits by 5e-5: the order in
    # which a compiler sums decides. The reference's own are one off.
    precise = name == "aacnn"
    with jax.enable_x64(precise):
        x = golden["inputs"].astype(np.float64 if precise else np.float32)
        model = models.create_model(name)
        logits = jax.jit(functools.partial(model.apply, train=False))(variables, x)
        logits = np.asarray(logits)
    assert logits.dtype == x.dtype
    assert_close_to_largest(logits, golden["logits_eval"], 1e-4)


AS_FOR_USERS = {
    "xla_backend_optimization_level": 3,
    "xla_cpu_use_fusion_emitters": True,
}


@pytest.mark.parametrize(
    ("name", "compiler_options"),
    [(name, None) for name in REFERENCES] + [("glam", AS_FOR_USERS)],
    ids=[*REFERENCES, "glam-optimised"],
)
def test_training_pass_is_the_references(name, compiler_options):
    """Logits, loss, gradients, and BatchNorm's running statistics.

    With all optimisations, as users compile it, XLA fuses otherwise than in the rest.
    """
    golden, state_dict, variables = reference(name)
    model = models.create_model(name, **NO_DROPOUT.get(name, {}))
    # On some processors the rounding of float32 puts a gradient of multiscale_mha 2e-3
    # off: most likely a ReLU or a maximum takes the other side. With AVX2 alone, and in
    # float64, all are within 5e-6. Of aacnn, a bias before BatchNorm has no gradient:
    # the reference's rounding alone is 94 % of what is allowed, and ours adds to it.
    precise = name in ("multiscale_mha", "aacnn")

    def forward(params):
        logits, updates = model.apply(
            variables | {"params": params}, inputs, train=True, mutable=["batch_stats"]
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(
            logits, golden["labels"]
        )
        return losses.mean(), (logits, updates["batch_stats"])

    with jax.enable_x64(precise):
        dtype = np.float64 if precise else np.float32
        inputs = golden["inputs"].astype(dtype)
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), variables)
        function = jax.jit(
            jax.value_and_grad(forward, has_aux=True), compiler_options=compiler_options
        )
        (loss, (logits, batch_stats)), gradients = function(variables["params"])
    assert logits.dtype == dtype
    assert_close_to_largest(logits, golden["logits_train"], 1e-4)
    np.testing.assert_allclose(loss, golden["loss"], rtol=1e-4)

    # Gradients and statistics by their PyTorch names: converting weights whose values
    # are positions tells where each went.
    ours = to_torch_layout(name, state_dict, gradients, batch_stats)
    norms = [np.linalg.norm(ours[key]) for key in golden["param_names"]]
    largest = golden["grad_norms"].max()
    # A bias before BatchNorm has no gradient but rounding.
    np.testing.assert_allclose(
        norms, golden["grad_norms"], rtol=1e-3, atol=1e-6 * largest
    )
    for key, head, norm in zip(
        golden["param_names"], golden["grad_heads"], golden["grad_norms"], strict=True
    ):
        flat = np.resize(ours[key], max(6, ours[key].size))[:6]
        np.testing.assert_allclose(flat, head, rtol=1e-2, atol=1e-3 * norm + 1e-6)
    norms = [np.linalg.norm(ours[key]) for key in golden["running_names"]]
    np.testing.assert_allclose(norms, golden["running_norms"], rtol=1e-5)


def to_torch_layout(name, state_dict, params, batch_stats):
    """Our arrays under PyTorch's names and in its layout."""
    positions, start = {}, 0
    for key, value in state_dict.items():
        positions[key] = np.arange(start, start + value.size).reshape(value.shape)
        start += value.size
    converted = torch_weights.from_state_dict(name, positions)
    flat = np.zeros(start)
    ours = {"params": params, "batch_stats": batch_stats}
    jax.tree.map(lambda where, value: np.put(flat, where, value), converted, ours)
    return {key: flat[where] for key, where in positions.items()}


def test_every_model_has_its_known_number_of_parameters():
    assert PARAMETERS.keys() == models.MODELS.keys()
    for name, expected in PARAMETERS.items():
        model = models.create_model(name)
        shapes = jax.eval_shape(
            lambda model=model: model.init(
                jax.random.key(0), jnp.zeros((1, 26, 57)), train=False
            )
        )
        assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == expected


def test_unknown_model_is_refused_with_the_names():
    with pytest.raises(ValueError, match=r"'gram'.*glam"):
        models.create_model("gram")


SMALLEST = {
    name: (5, 5) if name in ("apcnn", "mhcnn") else (3, 5) for name in BASELINES
} | {"glam_plus": (4, 4)}


@pytest.mark.parametrize("name", models.MODELS)
def test_segments_too_small_for_the_network_are_refused_with_both_shapes(name):
    """The smallest shape works, and one line less is refused."""
    model = models.create_model(name)
    frequency, time = SMALLEST.get(name, (2, 4))

    def init(*shape):
        x = jnp.zeros((1, *shape))
        return jax.eval_shape(lambda: model.init_with_output(KEY, x, train=False))

    assert init(frequency, time)[0].shape == (1, 4)
    for shape in ((frequency - 1, time), (frequency, time - 1)):
        with pytest.raises(ValueError) as refused:
            init(*shape)
        for size in (f"{frequency} x {time}", f"{shape[0]} x {shape[1]}"):
            assert size in str(refused.value)


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("shape", [(40, 177), (128, 81), (400, 197)])
def test_every_model_has_logits_for_every_kind_of_features(name, shape):
    """Logfbank, mel spectrogram of 2 s, spectrogram of 2 s."""
    model = models.create_model(name, num_classes=8)
    x = jnp.zeros((2, *shape))
    logits, _ = jax.eval_shape(lambda: model.init_with_output(KEY, x, train=False))
    assert logits.shape == (2, 8)


def test_initial_values_follow_pytorch():
    model = models.create_model("glam")
    init = jax.jit(functools.partial(model.init, train=False))
    params = init(jax.random.key(0), jnp.zeros((1, 26, 57)))["params"]
    for layer, fan_in in (
        (params["conv"], 5 * 5 * 128),
        (params["block1"]["conv3"], 3 * 3 * 16),
        (params["global_aware"]["expand"], 182),
        (params["classifier"], 128 * 182),
    ):
        bound = fan_in**-0.5  # kaiming-uniform with a = sqrt(5)
        assert 0.95 * bound < np.abs(layer["kernel"]).max() <= bound
        assert np.abs(layer["bias"]).max() <= bound
        np.testing.assert_allclose(np.std(layer["kernel"]), bound / 3**0.5, rtol=0.05)
    gate = params["global_aware"]["gate"]
    np.testing.assert_array_equal(gate["bias"], 1)
    assert 0.9 * 1e-3 / 128 < np.abs(gate["kernel"]).max() <= 1e-3 / 128


@pytest.mark.parametrize("features", [4, 20])
@pytest.mark.parametrize("width", [6, 7])
@pytest.mark.parametrize("kernel_size", [(3, 3), (5, 5), (3, 1), (1, 3)])
def test_derivatives_of_a_convolution_on_the_cpu_are_jaxs(kernel_size, width, features):
    padding = tuple((size // 2, size // 2) for size in kernel_size)

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    x = jax.random.normal(KEY, (2, 7, width, 3))
    kernel = jax.random.normal(jax.random.key(1), (*kernel_size, 3, features))
    assert_same_derivatives(
        lambda x, kernel: cpu.convolve(x, kernel, padding), plain, x, kernel
    )


def test_derivatives_of_a_product_on_the_cpu_are_jaxs():
    x = jax.random.normal(KEY, (2, 3, 5))
    kernel = jax.random.normal(jax.random.key(1), (5, 4))
    assert_same_derivatives(cpu.multiply, jnp.matmul, x, kernel)


def assert_same_derivatives(ours, expected, *arguments):
    """Values, gradients, directional derivatives, and the gradients of these."""

    @functools.partial(jax.jit, static_argnums=0)
    def derivatives(function, *arguments):
        def sines(*arguments):
            return jnp.sin(function(*arguments)).sum()

        def along(*arguments):
            return jax.jvp(sines, arguments, jax.tree.map(jnp.cos, arguments))[1]

        everything = tuple(range(len(arguments)))
        return (
            function(*arguments),
            jax.grad(sines, everything)(*arguments),
            jax.jvp(lambda x: sines(x, *arguments[1:]), arguments[:1], arguments[:1]),
            jax.value_and_grad(along, everything)(*arguments),
        )

    assert_trees_close(
        derivatives(ours, *arguments), derivatives(expected, *arguments), 1e-4
    )


# Compiling takes seconds. Of models whose layers another one has, too, and of second
# derivatives but for two, the shapes are enough.
SAME_LAYERS = {"glam5", "glam_single_scale", "glam_no_residual", "multiscale"}
SECOND_COMPUTED = {"glam", "mhcnn"}


@pytest.mark.parametrize("name", models.MODELS)
def test_forward_and_reverse_derivatives_agree(name):
    """First and second ones of the training loss, along a direction."""
    model = models.create_model(name)
    x = jax.random.normal(KEY, (3, 5, 6))
    variables = jax.jit(lambda: model.init(KEY, x, train=False))()
    direction = jax.tree.map(
        lambda leaf: jax.random.normal(KEY, leaf.shape), variables["params"]
    )

    def loss(params):
        logits, _ = model.apply(
            variables | {"params": params},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": KEY},
        )
        return (logits * jnp.arange(4)).sum()

    def forward(function):
        return lambda params: jax.jvp(function, (params,), (direction,))[1]

    def reverse(function):
        def along(params):
            gradient = jax.grad(function)(params)
            return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, direction)))

        return along

    first = forward(loss), reverse(loss)
    second = forward(forward(loss)), reverse(reverse(loss))
    for pair, computed in (
        (first, name not in SAME_LAYERS),
        (second, name in SECOND_COMPUTED),
    ):
        if not computed:
            for along in pair:
                assert jax.eval_shape(along, variables["params"]).shape == ()
            continue
        both = jax.jit(lambda params, pair=pair: [along(params) for along in pair])
        ours, expected = both(variables["params"])
        np.testing.assert_allclose(ours, expected, rtol=1e-3)


@pytest.mark.parametrize("name", models.MODELS)
def test_a_batch_is_its_examples_mapped(name):
    """Logits, and gradients for each example."""
    model = models.create_model(name)
    x = jax.random.normal(KEY, (3, 5, 6))
    variables = jax.jit(lambda: model.init(KEY, x, train=False))()

    def loss(params, x):
        logits = model.apply(variables | {"params": params}, x, train=False)
        return (logits * jnp.arange(4)).sum(), logits

    @jax.jit
    def both(params):
        gradient = jax.grad(loss, has_aux=True)
        of_examples, logits = jax.vmap(gradient, (None, 0))(params, x[:, None])
        mapped = jax.tree.map(lambda leaf: leaf.sum(0), of_examples), logits[:, 0]
        return mapped, gradient(params, x)

    mapped, expected = both(variables["params"])
    assert_trees_close(mapped, expected, 1e-4)


def test_batch_norm_keeps_the_unbiased_variance():
    x = jnp.array([[1.0], [2.0], [6.0]])
    norm = normalization.BatchNormReLU()
    variables = norm.init(jax.random.key(0), x, train=False)
    y, updates = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    stats = updates["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * 3)
    np.testing.assert_allclose(stats["var"], 0.9 * 1 + 0.1 * 7)  # 7 = 14 / (3 - 1)
    normal = (x - 3) / np.sqrt(14 / 3 + 1e-5)
    np.testing.assert_allclose(y, np.maximum(normal, 0), rtol=1e-5)


def test_max_pool_drops_an_odd_last_line():
    x = jnp.arange(15.0).reshape(1, 3, 5, 1)
    np.testing.assert_array_equal(normalization.max_pool(x)[0, :, :, 0], [[6, 8]])


# The products of their attention are not scaled: with the golden weights they reach
# hundreds, and rounding them to bfloat16 changes which one softmax takes.
UNSCALED_ATTENTION = {"multiscale_mha", "multiscale_aa", "aacnn"}


@pytest.mark.parametrize("name", sorted(set(REFERENCES) - UNSCALED_ATTENTION))
def test_bfloat16_changes_float32_logits_little(name):
    golden, _, variables = reference(name)
    model = models.create_model(name)
    logits = model.apply(variables, golden["inputs"].astype(jnp.bfloat16), train=False)
    assert logits.dtype == jnp.float32
    assert_close_to_largest(logits, golden["logits_eval"], 0.1)
    assert np.abs(logits - golden["logits_eval"]).max() > 0  # it was not float32


def test_dropout_keeps_the_mean_and_draws_for_each_example():
    x = jnp.ones((8, 4000))
    dropout = layers.Dropout(0.5)
    y = dropout.apply({}, x, train=True, rngs={"dropout": KEY})
    assert set(np.unique(y)) == {0, 2}
    np.testing.assert_allclose(y.mean(axis=1), 1, atol=0.1)
    assert len(np.unique(y, axis=0)) == 8
    np.testing.assert_array_equal(dropout.apply({}, x, train=False), x)


def test_functionals_of_a_line_by_hand_and_with_silence_after_it():
    """Mean, deviation, change and trend of each coefficient."""
    line = np.stack([3 + 2 * np.arange(5.0), 7 - np.arange(5.0)])[None]
    expected = [7, 5, 8**0.5, 2**0.5, 2, 1, 4, -2]
    for silence in (0, 4):
        x = jnp.pad(jnp.asarray(line, jnp.float32), ((0, 0), (0, 0), (0, silence)))
        found = plus.functionals(x, jnp.arange(5 + silence)[None] < 5)
        np.testing.assert_allclose(found[0], expected, rtol=1e-4)
    nothing = plus.functionals(jnp.zeros((1, 2, 5)), jnp.zeros((1, 5), bool))
    assert np.isfinite(nothing).all()


def test_area_attention_by_hand():
    """Two positions: runs of one and the run of both, keys means and values sums."""
    x = np.array([[1.0, 0.0], [0.0, 2.0]])
    keys = np.array([[1.0, 0.0], [0.0, 2.0], [0.5, 1.0]])
    values = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
    weights = np.exp(x @ keys.T)
    expected = weights / weights.sum(axis=1, keepdims=True) @ values
    attention = layers.AreaAttention(0.5)
    ours = attention.apply({}, jnp.array(x.reshape(1, 1, 2, 2)), train=False)
    np.testing.assert_allclose(ours[0], expected, rtol=1e-6)


class OwnNetwork(nn.Module):
    """A user's, which knows nothing of ours."""

    num_classes: int = 4

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(8, (3, 3))(x[..., None])
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.max_pool(x, (2, 2), (2, 2))
        return nn.Dense(self.num_classes)(x.mean((1, 2)))


@pytest.mark.parametrize(
    ("platform", "name", "runs"),
    [
        ("tpu", "glam", 2),
        ("tpu", "glam_single_scale", 3),
        ("tpu", "mhcnn", 3),
        ("cuda", "mhcnn", 3),
        ("tpu", "own", 3),
        ("cuda", "own", 3),
        ("cpu", "own", 3),
    ],
)
def test_runs_side_by_side_equal_runs_alone(platform, name, runs):
    """Logits, gradients and statistics; three runs fill a TPU's lanes unevenly."""
    model = OwnNetwork() if name == "own" else models.create_model(name)
    x = jax.random.normal(KEY, (runs, 4, 7, 9))
    create = jax.jit(lambda seed: model.init(jax.random.key(seed), x[0], train=False))
    # BatchNorm's scales of both signs turn a maximum into a minimum.
    sign = jnp.array([1, -1, 1])[:runs]
    variables = jax.tree.map(
        lambda *leaves: jnp.stack(leaves) * sign.reshape(-1, *[1] * leaves[0].ndim),
        *[create(seed) for seed in range(runs)],
    )

    def loss(params, batch_stats, x):
        logits, updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            x,
            train=True,
            mutable=["batch_stats"],
        )
        return (logits * jnp.arange(4)).sum(), (logits, updates)

    step = jax.value_and_grad(loss, has_aux=True)
    arguments = variables["params"], variables["batch_stats"], x
    together = jax.jit(parallel.over_runs(step, (False, False, False), platform))
    ours = together(*arguments)
    alone = jax.jit(step)
    for k in range(runs):
        expected = alone(*jax.tree.map(lambda leaf, k=k: leaf[k], arguments))
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a[k], b, rtol=1e-4, atol=1e-5 * largest)


def test_what_was_traced_for_one_platform_is_traced_anew_for_another():
    form = jax.jit(lambda x: x + ops.in_lanes() + 2 * ops.on_cpu())
    for platform, expected in (("cuda", 0), ("tpu", 1), ("cpu", 2), ("cuda", 0)):
        mapped = parallel.over_runs(form, (False,), platform)
        np.testing.assert_array_equal(mapped(jnp.zeros(2)), expected)
    assert form(0) == 2 * (jax.default_backend() == "cpu")
