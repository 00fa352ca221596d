r"""Exports a trained model as a folder that needs nothing of this project.

  python -m glam_jax.export runs/emodb_train_glam_speaker --out=exported
  python -m glam_jax.export exported --out=again --run=all --format=onnx --measure

The folder holds model.onnx and model.stablehlo (waveforms at 16 kHz in, probabilities
out), example.py, MODEL_CARD.md, and model.json with the weights, which `glam_jax.load`
opens. Both graphs are compared with the model before the folder is written.
"""

import importlib.metadata
import importlib.util
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import app, flags

from data_prep import audio, features, paths, text
from glam_jax import card, command, results

if TYPE_CHECKING:
    from glam_jax.recognizer import Recognizer

_OUT = flags.DEFINE_string("out", "exported", "Folder that receives the files.")
_RUN = flags.DEFINE_string("run", "0", "Number of a run, or all: the runs' mean.")
_FORMATS = flags.DEFINE_list("format", ["stablehlo", "onnx"], "Which graphs to write.")
_SPEECH = flags.DEFINE_string(
    "speech", None, "Folder of recordings to compare the answers on, beside noise."
)
_MEASURE = flags.DEFINE_bool(
    "measure", False, "Also time the answers, on one core, and print them as a table."
)

# What each graph needs to be made and to be compared.
_NEEDS = {
    "stablehlo": ("flatbuffers",),
    "onnx": ("jax2onnx", "onnx", "onnxruntime"),
}
_TOLERANCE = 1e-4  # of a probability
_MOST_RECORDINGS = 20  # of --speech
Answer = Callable[[np.ndarray], np.ndarray]


def check_flags(arguments: Sequence[str], formats: Sequence[str]) -> None:
    """Raises ValueError when the command cannot be done, before JAX is imported."""
    if len(arguments) != 1:
        raise ValueError(
            "name one trained model: python -m glam_jax.export RUN --out=exported"
        )
    if not formats or set(formats) - _NEEDS.keys():
        raise ValueError(
            f"--format={','.join(formats)}: there are {', '.join(_NEEDS)}, or both"
        )
    for needed in [name for kind in formats for name in _NEEDS[kind]]:
        if importlib.util.find_spec(needed) is None:
            raise ValueError(
                f"--format={','.join(formats)} needs the package {needed}: pip install "
                "-e .[export]"
            )


def export(model: pathlib.Path, out: pathlib.Path, formats: Sequence[str]) -> None:
    """Writes the folder, and prints how its graphs answer.

    Args:
      model: The folder of the trained model.
      out: The folder to write; files of an earlier export there are replaced.
      formats: Names in `_NEEDS`.

    Raises:
      ValueError: When the model cannot be exported, `out` is the folder of a training,
        or a graph answers otherwise than the model.
    """
    check_folder(model, out)
    recognizer, report = opened(model)
    graphs = made(recognizer, formats)
    answers = {kind: answer(kind, graph) for kind, graph in graphs.items()}
    sounds = recordings(_SPEECH.value, recognizer)
    differences = {
        kind: compared(recognizer, kind, function, sounds)
        for kind, function in answers.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    earlier = [*(f"model.{kind}" for kind in _NEEDS), card.EXAMPLE, "weights_*"]
    for path in [path for name in earlier for path in out.glob(name)]:
        path.unlink()
    for kind, graph in graphs.items():
        text.write_bytes(out / f"model.{kind}", graph)
    exported = {
        "run": _RUN.value,
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("jax", *(name for kind in formats for name in _NEEDS[kind]))
        },
        "bytes": {kind: len(graph) for kind, graph in graphs.items()},
        "largest_difference": differences,
        "compared_on": len(sounds),
    }
    write_rest(out, recognizer, report, exported)
    print("\n".join(sentences(exported)), f"\nAll files: {out}")
    if _MEASURE.value:
        from glam_jax.benchmark import answers as benchmark
        from glam_jax.benchmark import rows

        functions = answers | {"Recognizer": recognizer.probabilities}
        print(f"\n{rows.table(benchmark.rows(recognizer, functions))}")


def check_folder(model: pathlib.Path, out: pathlib.Path) -> None:
    """Raises ValueError when `out` holds what is no export, or is the model itself."""
    if model.resolve() == out.resolve():
        raise ValueError(f"--out={out} is the model itself; give another folder")
    if (out / "model.json").exists():
        if "exported" not in results.read_json(out / "model.json"):
            raise ValueError(
                f"--out={out} holds a trained model that is no export; give another "
                "folder"
            )
    elif out.exists() and any(out.iterdir()):
        raise ValueError(f"--out={out} holds other files; give another folder")


def opened(model: pathlib.Path) -> tuple["Recognizer", dict[str, Any] | None]:
    """The trained model, which can be exported, and its report if there is one."""
    from glam_jax import graphs, recognizer, weights

    graphs.check(weights.read(model))
    report = model / results.REPORT
    return (
        recognizer.load(model, _RUN.value),
        results.read_json(report) if report.is_file() else None,
    )


def made(recognizer: "Recognizer", formats: Sequence[str]) -> dict[str, bytes]:
    """The graphs by format."""
    from glam_jax import graphs

    makers = {
        "stablehlo": graphs.stablehlo,
        "onnx": lambda model: graphs.onnx_model(model).SerializeToString(),
    }
    return {kind: makers[kind](recognizer) for kind in makers if kind in formats}


def answer(kind: str, graph: bytes) -> Answer:
    """The function of one recording, (samples,), by a graph on one core."""
    if kind == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(graph, options)
        return lambda wave: np.asarray(session.run(None, {"waveform": wave[None]})[0])[
            0
        ]
    import jax

    call = jax.jit(jax.export.deserialize(bytearray(graph)).call)
    return lambda wave: np.asarray(call(wave[None]))[0]


def recordings(folder: str | None, recognizer: "Recognizer") -> list[np.ndarray]:
    """What the answers are compared on: shorter than a segment, 3 s, 20 s, and others.

    Raises:
      ValueError: When the folder holds no recording that can be read.
    """
    if folder is None:
        found = [np.random.default_rng(0).normal(0, 0.1, 320_000).astype(np.float32)]
    else:
        files = sorted(paths.local(folder, "--speech").rglob("*.*"))
        files = [f for f in files if f.suffix.lower() in (".wav", ".flac", ".ogg")]
        chosen = files[:: max(len(files) // _MOST_RECORDINGS, 1)][:_MOST_RECORDINGS]
        found = [audio.read(file).wave for file in chosen]
        if not found:
            raise ValueError(f"--speech={folder} holds no .wav, .flac or .ogg")
    joined = np.resize(np.concatenate(found), 20 * features.SAMPLE_RATE)
    half = recognizer.description["features"]["segment"] // 2
    return [
        joined[4000 : 4000 + half],
        joined[: 3 * features.SAMPLE_RATE],
        joined,
        *(found if folder else []),
    ]


def compared(
    recognizer: "Recognizer", kind: str, function: Answer, sounds: list[np.ndarray]
) -> float:
    """The largest difference of a graph's probabilities to the model's.

    Raises:
      ValueError: When it is no rounding.
    """
    if kind == "stablehlo":
        sounds = sounds[:6]  # each length is compiled, which takes seconds
    difference = max(
        float(np.abs(function(sound) - recognizer.probabilities(sound)).max())
        for sound in sounds
    )
    dtype = recognizer.description["dtype"]
    if not difference <= _TOLERANCE and dtype == "float32":
        raise ValueError(
            f"model.{kind} answers otherwise than the model (probabilities by up to "
            f"{difference:.2g}); nothing was written. Try --format with the other one"
        )
    return difference


def write_rest(
    out: pathlib.Path,
    recognizer: "Recognizer",
    report: dict[str, Any] | None,
    exported: dict[str, Any],
) -> None:
    """Writes what stands beside the graphs; model.json last."""
    from glam_jax import weights

    old = recognizer.description["runs"]
    chosen = [r for r in old if _RUN.value in ("all", str(r["run"]))]
    runs = []
    for number, (run, variables) in enumerate(
        zip(chosen, recognizer.variables, strict=True)
    ):
        name = f"weights_{number:03d}.safetensors"
        weights.save(out / name, variables)
        runs.append({"trained_as": run["run"]} | run | {"run": number, "weights": name})
    description = recognizer.description | {"runs": runs, "exported": exported}
    text.write_text(
        out / card.CARD, card.text(description, report, sentences(exported))
    )
    if "onnx" in exported["bytes"]:
        text.write_text(out / card.EXAMPLE, card.EXAMPLE_TEXT)
    text.write_text(out / weights.MODEL, json.dumps(description, indent=2) + "\n")


def sentences(exported: dict[str, Any]) -> list[str]:
    """A sentence on each graph: its size, its answers and what made it."""
    versions = exported["versions"]
    by = {
        "onnx": f"ONNX opset {{opset}} by jax2onnx {versions.get('jax2onnx')}, "
        f"compared by onnxruntime {versions.get('onnxruntime')}",
        "stablehlo": f"jax.export of JAX {versions['jax']} for {{platforms}}; XLA "
        "compiles it once for each shape of its input",
    }
    from glam_jax import graphs

    return [
        f"model.{kind}: {size / 1e6:.2f} MB; probabilities differ from the trained "
        f"model's by at most {exported['largest_difference'][kind]:.1e}; "
        + by[kind].format(opset=graphs.OPSET, platforms=", ".join(graphs.PLATFORMS))
        for kind, size in exported["bytes"].items()
    ]


def main(argv: list[str]) -> None:
    def work() -> None:
        check_flags(argv[1:], _FORMATS.value)
        model, out = paths.local(argv[1], "MODEL"), paths.local(_OUT.value, "--out")
        if _MEASURE.value and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # one core
        export(model, out, _FORMATS.value)

    command.run(work)


if __name__ == "__main__":
    app.run(main, flags_parser=command.parse)
