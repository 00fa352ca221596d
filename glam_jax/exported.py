"""An exported folder: a trained model as graphs, with its weights and its card.

The graphs are compared with the model before anything is written.
"""

import importlib.metadata
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.export
import numpy as np

from data_prep import audio, corpora, features, text
from glam_jax import card, graphs, held_out, recognizer, results, weights

_MAKERS = {
    "stablehlo": graphs.stablehlo,
    "onnx": lambda model: graphs.onnx_model(model).SerializeToString(),
}
_ROUNDING, _WRONG = 1e-4, 1e-2  # of a probability
_SILENT = 1e-3  # of full scale: nothing to compare on
_MOST_RECORDINGS = 20
_COMPILED = 4  # recordings that StableHLO, which is compiled for each, is compared on
_SOUNDS = (".wav", ".flac", ".ogg")
Answer = Callable[[np.ndarray], np.ndarray]  # of one recording, (samples,)


def write(
    model: pathlib.Path,
    out: pathlib.Path,
    run: str,
    formats: Sequence[str],
    speech: pathlib.Path | None = None,
    held_out_training: pathlib.Path | None = None,
) -> tuple[dict[str, Any], recognizer.Recognizer, dict[str, Answer]]:
    """Writes the folder.

    Args:
      model: The folder of the trained model.
      out: The folder to write; files of an earlier export there are replaced.
      run: The number of a run, or 'all'.
      formats: Names in `card.PACKAGES`.
      speech: A folder of recordings to compare the answers on, None for noise.
      held_out_training: See `held_out.measured`; None for a card without it.

    Returns:
      What model.json says of the export, the trained model, and the function that each
      graph is, by format.

    Raises:
      ValueError: When the model cannot be exported, or a graph answers otherwise.
    """
    description = weights.read(model)
    if formats:
        graphs.check(description)
    file = model / results.REPORT
    report = results.read_json(file) if file.is_file() else None
    added: dict[str, Any] = {}
    if held_out_training is not None:
        added["held_out"] = held_out.measured(held_out_training, report)
    trained = recognizer.load(model, run)
    made = {kind: make(trained) for kind, make in _MAKERS.items() if kind in formats}
    answers = {kind: answer(kind, graph) for kind, graph in made.items()}
    sounds = recordings(speech, trained.description["features"]["segment"])
    differences = {
        kind: compare(trained, kind, function, sounds)
        for kind, function in answers.items()
    }
    packages = ("jax", *(name for kind in made for name in card.PACKAGES[kind]))
    exported = {
        "run": run,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "bytes": {kind: len(graph) for kind, graph in made.items()},
        "largest_difference": differences,
    }
    _write(out, made, trained, added | {"exported": exported}, report)
    return exported, trained, answers


def answer(kind: str, graph: bytes) -> Answer:
    """The function that a graph is; onnxruntime takes one core.

    Args:
      kind: A name in `card.PACKAGES`.
      graph: The content of its file.
    """
    if kind == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph, options)

        def run(wave: np.ndarray) -> np.ndarray:
            (probabilities,) = session.run(None, {"waveform": wave[None]})
            return np.asarray(probabilities)[0]

        return run
    call = jax.jit(jax.export.deserialize(bytearray(graph)).call)
    return lambda wave: np.asarray(call(wave[None]))[0]


def _wave(file: pathlib.Path) -> np.ndarray:
    try:
        return audio.read(file).wave
    except audio.AudioError as error:
        raise ValueError(f"--speech: {file} {error}; take it out") from error


def recordings(speech: pathlib.Path | None, segment: int) -> list[np.ndarray]:
    """What answers are compared on: half a segment, 3 s, 20 s, and speech as it is.

    Args:
      speech: A folder of recordings, None for noise.
      segment: Samples in a segment.

    Raises:
      ValueError: When the folder holds no recording.
    """
    found = []
    if speech is not None:
        sounds = sorted(corpora.below(speech)[0])
        files = [file for file in sounds if file.suffix.lower() in _SOUNDS]
        if not files:
            raise ValueError(f"--speech={speech} holds no {', '.join(_SOUNDS)}")
        step = max(len(files) // _MOST_RECORDINGS, 1)
        found = [_wave(file) for file in files[::step][:_MOST_RECORDINGS]]
    noise = np.random.default_rng(0).normal(0, 0.1, 320_000).astype(np.float32)
    joined = np.resize(np.concatenate(found or [noise]), 20 * features.SAMPLE_RATE)
    start = len(joined) // 4
    cuts = [joined[start : start + segment // 2], joined[: 3 * features.SAMPLE_RATE]]
    return [sound for sound in [*cuts, joined, *found] if np.ptp(sound) > _SILENT]


def compare(
    trained: recognizer.Recognizer,
    kind: str,
    function: Answer,
    sounds: Sequence[np.ndarray],
) -> float:
    """The largest difference of a graph's probabilities to the model's.

    Raises:
      ValueError: When it is no rounding.
    """
    if kind == "stablehlo":
        sounds = sounds[:_COMPILED]
    differences = [
        np.abs(function(sound) - trained.probabilities(sound)).max() for sound in sounds
    ]
    difference = float(np.max(differences))  # NaN where one is
    most = _WRONG if trained.description["dtype"] == "float32" else np.inf
    if not difference <= most:
        raise ValueError(
            f"model.{kind} answers otherwise than the model (probabilities by up to "
            f"{difference:.2g}), and nothing was written; --format chooses another one"
        )
    return difference


def sentences(exported: Mapping[str, Any]) -> list[str]:
    """A sentence on each graph: its size, its answers and what made it.

    Args:
      exported: What model.json says of the export.
    """
    versions = exported["versions"]
    origin = {
        "onnx": f"ONNX opset {graphs.OPSET} by jax2onnx {versions.get('jax2onnx')}, "
        f"compared by onnxruntime {versions.get('onnxruntime')}",
        "stablehlo": f"jax.export of JAX {versions['jax']} for "
        f"{', '.join(graphs.PLATFORMS)}; XLA compiles it once for each shape of input",
    }
    return [
        f"model.{kind}: {exported['bytes'][kind] / 1e6:.2f} MB; probabilities differ "
        f"from the trained model's by at most {difference:.1e}"
        + (" (above 1e-4)" if difference > _ROUNDING else "")
        + f"; {origin[kind]}"
        for kind, difference in exported["largest_difference"].items()
    ]


def _write(
    out: pathlib.Path,
    made: Mapping[str, bytes],
    trained: recognizer.Recognizer,
    added: dict[str, Any],
    report: Mapping[str, Any] | None,
) -> None:
    """Writes all files, model.json, to which something is added, last."""
    exported = added["exported"]
    out.mkdir(parents=True, exist_ok=True)
    earlier = [*(f"model.{kind}" for kind in card.PACKAGES), card.EXAMPLE, "weights_*"]
    for path in [path for name in earlier for path in out.glob(name)]:
        path.unlink()
    for kind, graph in made.items():
        text.write_bytes(out / f"model.{kind}", graph)
    chosen = [
        run
        for run in trained.description["runs"]
        if exported["run"] in ("all", str(run["run"]))
    ]
    runs = []
    for number, run in enumerate(chosen):
        name = f"weights_{number:03d}.safetensors"
        weights.save(out / name, trained.variables[number])
        run = {"trained_as": run["run"]} | run | {"run": number, "weights": name}
        run.pop("files", None)  # of the checkpoint
        runs.append(run)
    description = trained.description | {"runs": runs} | added
    description.pop("files", None)  # of the training
    told = card.text(description, report, sentences(exported))
    text.write_text(out / card.CARD, told)
    if "onnx" in made:
        text.write_text(out / card.EXAMPLE, card.EXAMPLE_TEXT)
    text.write_text(out / weights.MODEL, results.json_text(description))
