"""A trained model as one graph from sound to probabilities: StableHLO and ONNX.

Both cut a recording as `features.segment` does, compute the features, and answer as
`Recognizer.probabilities`. They take blocks of segments in turn, so that their memory
does not grow with the recording.
"""

import functools
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import export, lax
from jax.extend import core

from data_prep import features
from glam_jax import weights
from glam_jax.models import frontend, inputs
from glam_jax.recognizer import BATCH_SIZE, Recognizer, logits_and_embedding

if TYPE_CHECKING:
    import onnx

OPSET = 21  # of ONNX; onnxruntime has it since 1.18
PLATFORMS = ("cpu", "cuda", "tpu")


def check(description: Mapping[str, Any]) -> None:
    """Raises ValueError for a model whose features cannot be part of a graph."""
    kind = description["features"]["kind"]
    if kind in frontend.KINDS:
        return
    what = "a function of your own" if ":" in kind else "a function of numpy"
    raise ValueError(
        f"the model cannot be exported: its features {kind!r} are {what}, and only "
        f"{', '.join(frontend.KINDS)} are there in JAX. Train a network that computes "
        "them itself, from data of --features=waveform"
    )


def stablehlo(recognizer: Recognizer) -> bytes:
    """The graph serialised by jax.export: (batch, samples) to (batch, classes).

    Args:
      recognizer: The trained model; of several runs the mean is answered.

    Returns:
      What `jax.export.deserialize` takes, on a CPU, with CUDA or on a TPU. Batch and
      samples are any, but XLA compiles it once for each shape.
    """
    shape = export.symbolic_shape("batch, samples")
    waves = jax.ShapeDtypeStruct(shape, jnp.float32)
    function = jax.jit(_probabilities(recognizer))
    return bytes(export.export(function, platforms=PLATFORMS)(waves).serialize())


def _probabilities(recognizer: Recognizer) -> Callable:
    """The function of waveforms, (batch, samples), to probabilities."""
    cut = recognizer.description["features"]
    length, hop = cut["segment"], cut["hop"]
    fills_up = weights.short(recognizer.description)
    of_segments = _logits(recognizer)
    size = len(recognizer.variables), len(recognizer.class_names)

    def probabilities(waves):
        batch, samples = waves.shape
        samples = jnp.asarray(samples)
        count = jnp.maximum(samples - length, 0) // hop + 1

        def add_block(block, total):
            numbers = block * BATCH_SIZE + jnp.arange(BATCH_SIZE)
            # Modulo the length: a recording shorter than a segment is repeated first.
            places = numbers[:, None] * hop + jnp.arange(length)
            segments = jnp.take(waves, places % samples, axis=1, mode="clip")
            if fills_up == "silence":
                segments = jnp.where(places < samples, segments, 0)
            logits = of_segments(segments.reshape(batch * BATCH_SIZE, length))
            logits = logits.reshape(batch, BATCH_SIZE, *size)
            counts = (numbers < count)[:, None, None]
            return total + jnp.where(counts, logits, 0).sum(axis=1)

        blocks = (count + BATCH_SIZE - 1) // BATCH_SIZE
        zeros = jnp.zeros((batch, *size), jnp.float32)
        total = lax.fori_loop(0, blocks, add_block, zeros)
        return jax.nn.softmax(total / count).mean(axis=1)

    return probabilities


def _logits(recognizer: Recognizer, dtype: str | None = None) -> Callable:
    """The function of segments, (n, samples), to logits, (n, runs, classes)."""
    cut = recognizer.description["features"]
    dtype = dtype or recognizer.description["dtype"]
    model = inputs.in_precision(recognizer.model, dtype)

    def logits(segments):
        x = frontend.extract(cut["kind"], segments, cut["pad_mode"])
        x = inputs.cast(model, x, dtype)
        of_runs = [
            logits_and_embedding(model, variables, x)[0][:, None]
            for variables in recognizer.variables
        ]
        return jnp.concatenate(of_runs, axis=1)  # jax2onnx has no stack

    return logits


def onnx_model(recognizer: Recognizer) -> "onnx.ModelProto":
    """The graph as an ONNX model: (batch, samples) to (batch, classes).

    It computes in float32, also what was trained in bfloat16.

    Args:
      recognizer: The trained model; of several runs the mean is answered.

    Raises:
      ValueError: When a network of one's own has an operation that jax2onnx lacks.
    """
    import onnx
    import onnx.checker
    import onnx.parser

    network = _network(recognizer)
    cut = recognizer.description["features"]
    model = onnx.parser.parse_model(
        _AROUND.format(
            opset=OPSET,
            ir_version=network.ir_version,
            runs=len(recognizer.variables),
            classes=len(recognizer.class_names),
            length=cut["segment"],
            hop=cut["hop"],
            block=BATCH_SIZE,
            filled=_FILLED[weights.short(recognizer.description)],
        )
    )
    loop = next(node for node in model.graph.node if node.op_type == "Loop")
    body = loop.attribute[0].g
    nodes = list(body.node)
    place = next(at for at, node in enumerate(nodes) if node.op_type == "Network")
    del body.node[:]
    body.node.extend([*nodes[:place], *network.graph.node, *nodes[place + 1 :]])
    model.graph.initializer.extend(network.graph.initializer)
    properties = {
        "classes": json.dumps(recognizer.class_names),
        "sample_rate": str(features.SAMPLE_RATE),
        "segment": str(cut["segment"]),
        "hop": str(cut["hop"]),
        "model": recognizer.description["model"],
        "features": cut["kind"],
        "runs": str(len(recognizer.variables)),
    }
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    return model


def _network(recognizer: Recognizer) -> "onnx.ModelProto":
    """The network and its features: 'segments', (n, samples), to 'logits'."""
    import onnx.compose

    (count,) = export.symbolic_shape("segments")
    length = recognizer.description["features"]["segment"]
    segments = jax.ShapeDtypeStruct((count, length), jnp.float32)
    # Traced before jax2onnx puts its own functions in the place of jax.numpy's.
    traced = jax.make_jaxpr(_logits(recognizer, "float32"))(segments)
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # pages of them
    try:
        import jax2onnx

        converted = jax2onnx.to_onnx(
            functools.partial(_evaluate, traced),
            [segments],
            opset=OPSET,
            input_names=["segments"],
            output_names=["logits"],
        )
    except Exception as error:  # of many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"jax2onnx cannot convert {recognizer.description['model']} "
            f"({reason:.200}); export it with --format=stablehlo"
        ) from error
    finally:
        logging.disable(before)
    return onnx.compose.add_prefix(
        converted, "network_", rename_inputs=False, rename_outputs=False
    )


def _evaluate(traced: core.ClosedJaxpr, *arguments: jax.Array) -> list[jax.Array]:
    """What a traced function gives, without the functions that it is made of.

    Those that are compiled or differentiated in a way of their own are taken apart:
    jax2onnx 0.13 cannot read them as JAX 0.12 writes them. What is done in a way of its
    own on some platforms is done in that of all others.
    """
    values = dict(zip(traced.jaxpr.constvars, traced.consts, strict=True))
    values |= dict(zip(traced.jaxpr.invars, arguments, strict=True))

    def read(variable):
        is_literal = isinstance(variable, core.Literal)
        return variable.val if is_literal else values[variable]

    for equation in traced.jaxpr.eqns:
        given = [read(variable) for variable in equation.invars]
        name = equation.primitive.name
        inner = next(
            (equation.params[key] for key in _INNER if key in equation.params), None
        )
        if name in _APART and inner is not None:
            outputs = _evaluate(inner, *given)
        elif name == "platform_index":  # the last way is that of all other platforms
            outputs = [len(equation.params["platforms"]) - 1]
        elif name == "cond" and isinstance(given[0], int):
            outputs = _evaluate(equation.params["branches"][given[0]], *given[1:])
        else:
            params = equation.primitive.get_bind_params(equation.params)
            outputs = equation.primitive.bind(*given, **params)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        values |= dict(zip(equation.outvars, outputs, strict=True))
    return [read(variable) for variable in traced.jaxpr.outvars]


_APART = ("jit", "pjit", "custom_jvp_call", "custom_vjp_call", "custom_vmap_call")
_INNER = ("jaxpr", "call_jaxpr", "call")


# What becomes of a short recording in the cut, which repeats it first.
_FILLED = {
    "repeat": "filled_up = Identity (cut)",
    "silence": "sounds = Less (indices, num_samples)\n"
    "      silent = Constant <value_float = 0.0> ()\n"
    "      filled_up = Where (sounds, cut, silent)",
}

# What stands around the network: the cut into segments and the mean of their logits.
_AROUND = """
<ir_version: {ir_version}, opset_import: ["": {opset}]>
glam_jax (float[batch, samples] waveform) => (float[batch, {classes}] probabilities)
<int64 zero = {{0}}, int64 one = {{1}}, int64 block = {{{block}}},
 int64 hop = {{{hop}}}, int64 length = {{{length}}}, int64[1] second = {{1}},
 int64[2] rows = {{-1, {length}}}, int64[2] size = {{{runs}, {classes}}},
 bool always = {{1}}>
{{
  batch_size = Shape <start = 0, end = 1> (waveform)
  shape = Shape (waveform)
  num_samples = Gather (shape, one)
  filled = Max (num_samples, length)
  rest = Sub (filled, length)
  hops = Div (rest, hop)
  count = Add (hops, one)
  last_block = Div (hops, block)
  blocks = Add (last_block, one)
  offsets = Range (zero, length, one)
  total_shape = Concat <axis = 0> (batch_size, size)
  nothing = ConstantOfShape (total_shape)
  total = Loop (blocks, always, nothing) <body = of_block
    (int64 number, bool go_on, float[batch, {runs}, {classes}] so_far)
    => (bool goes_on, float[batch, {runs}, {classes}] sum)
    {{
      goes_on = Identity (go_on)
      first = Mul (number, block)
      past = Add (first, block)
      end = Min (past, count)
      numbers = Range (first, end, one)
      starts = Mul (numbers, hop)
      column = Unsqueeze (starts, second)
      indices = Add (column, offsets)
      places = Mod (indices, num_samples)
      cut = Gather <axis = 1> (waveform, places)
      {filled}
      segments = Reshape (filled_up, rows)
      logits = Network (segments)
      in_block = Shape (numbers)
      grouped_shape = Concat <axis = 0> (batch_size, in_block, size)
      grouped = Reshape (logits, grouped_shape)
      of_these = ReduceSum <keepdims = 0> (grouped, second)
      sum = Add (so_far, of_these)
    }}>
  divisor = Cast <to = 1> (count)
  mean = Div (total, divisor)
  of_runs = Softmax <axis = -1> (mean)
  probabilities = ReduceMean <keepdims = 0> (of_runs, second)
}}
"""
