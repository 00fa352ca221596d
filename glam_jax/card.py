"""What an exported folder says of itself: MODEL_CARD.md and example.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from glam_jax import held_out, markup, metrics, results, tables, weights
from glam_jax.splits import leakage

CARD, EXAMPLE = "MODEL_CARD.md", "example.py"
PACKAGES = {  # that make a graph and compare it, by the format of the graph
    "stablehlo": ("flatbuffers",),
    "onnx": ("jax2onnx", "onnx", "onnxruntime"),
}

# Needs numpy, onnxruntime and soundfile alone.
EXAMPLE_TEXT = '''"""python example.py WAV ...: emotions, by model.onnx beside it."""

import json
import pathlib
import sys

import onnxruntime
import soundfile

model = onnxruntime.InferenceSession(pathlib.Path(__file__).parent / "model.onnx")
about = model.get_modelmeta().custom_metadata_map
classes = json.loads(about["classes"])
for path in sys.argv[1:]:
    wave, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != int(about["sample_rate"]):  # for example by `soxr` or `sox -r 16000`
        sys.exit(f"{path} has {rate} Hz; resample it to {about['sample_rate']} Hz")
    (probabilities,) = model.run(None, {"waveform": wave.mean(axis=1)[None]})
    told = [f"{n} {p:.3f}" for n, p in zip(classes, probabilities[0])]
    print(path, *told, sep="  ")
'''

_SHORT = {"repeat": "is repeated", "silence": "is followed by silence"}
_NOT_FOR = """\
- **No decision about a person**: hiring, schooling, policing, borders, credit,
  insurance, medicine, lie detection. In the European Union, inferring emotions at
  work and in education is forbidden, except for medical or safety reasons
  (Regulation 2024/1689, article 5).
- It does not tell what somebody feels. It tells which word the people who labelled the
  training's recordings would probably have chosen for the sound of a voice.
- Other languages, ages, microphones, noise, singing, several voices at once, and
  emotions that are not in its list: it answers all the same, and may be sure of it.
- A probability is not how often it is right, unless you have measured that on
  recordings like yours."""

_OF_ALL_RUNS = """\
These are figures of the whole training. Each of its runs is a network of its own, and
this folder may hold only one of them."""

_TO_FILL_IN = """\
| | |
|---|---|
| licence of the weights | TO FILL IN |
| licence of the recordings, and whether it lets weights be given away | TO FILL IN |
| consent of the speakers | TO FILL IN |
| contact | TO FILL IN |
| licence of the program that trained it (glam_jax) | Apache-2.0 |"""


def text(
    description: Mapping[str, Any],
    report: Mapping[str, Any] | None,
    answers: Sequence[str],
) -> str:
    """The whole MODEL_CARD.md.

    Args:
      description: What the folder's model.json holds.
      report: What the training's report.json holds, None where there is none.
      answers: Sentences on how the files of the folder answer.
    """
    cut, classes = description["features"], description["classes"]
    corpus = description["corpus"] or "unknown recordings"
    seconds = cut["segment"] / 16000
    blocks = [
        f"# {description['model']}, trained on {corpus}",
        "It hears a recording of speech and gives a probability for each of "
        f"{len(classes)} emotions: {', '.join(classes)}.",
        "## What it was trained on, and how",
        _made(description, report),
        "## How well it does",
        _figures(description.get("held_out"), report),
        "## How to use it",
        f"Mono at 16,000 Hz, full scale one, any length. It cuts segments of "
        f"{seconds:.3g} s every {cut['hop'] / 16000:.3g} s; what is shorter "
        f"{_SHORT[weights.short(description)]}. With glam_jax: `python -m "
        "glam_jax.predict FOLDER RECORDING.wav` or `glam_jax.load(FOLDER)`. Where "
        "model.onnx is here, `python example.py RECORDING.wav` does without it (numpy, "
        "onnxruntime, soundfile).",
        *(["\n".join(f"- {sentence}" for sentence in answers)] if answers else []),
        "## What it must not be used for",
        _NOT_FOR,
        "## To fill in before you give it away",
        _TO_FILL_IN,
        "The program: glam_jax, after Zhu & Li, *Speech Emotion Recognition with "
        "Global-Aware Fusion on Multi-scale Feature Representation*, ICASSP 2022.",
    ]
    return "\n\n".join(blocks) + "\n"


def _made(description: Mapping[str, Any], report: Mapping[str, Any] | None) -> str:
    made = description.get("provenance", {})
    lines = [("features", description["features"]["kind"])]
    if report is not None:
        used = [run["train_utterances"] for run in report["runs"]]
        lines += [
            ("recordings", f"{report['corpus']} ({', '.join(report['tfds_splits'])})"),
            ("training utterances", f"{_range(used)} in a run"),
            ("epochs", str(report["num_epochs"])),
            ("recipe", ", ".join(f"{k} {v}" for k, v in report["recipe"].items())),
        ]
    if made:
        versions = ", ".join(f"{k} {v}" for k, v in made["versions"].items())
        lines += [
            ("digest of the data", made["data_digest"]),
            ("versions", versions),
            ("commit", made["commit"] or "unknown"),
            ("trained", f"{made['started']} to {made['ended']} (UTC)"),
        ]
    if not made and report is None:
        source = description["runs"][0].get("source")
        lines.append(("weights", f"from {source}" if source else "of unknown origin"))
    return markup.markdown([{"": key, "value": value} for key, value in lines])


def _range(counts: Sequence[int]) -> str:
    """'297 to 318', or '339' where all are the same."""
    return " to ".join(dict.fromkeys(map(str, (min(counts), max(counts)))))


def _figures(
    measured: Mapping[str, Any] | None, report: Mapping[str, Any] | None
) -> str:
    parts = [
        *([_held_out(measured)] if measured is not None else []),
        *([_own(report)] if report is not None else []),
    ]
    if not parts:
        return "Nothing is known: no report came with these weights. Measure it."
    return "\n\n".join(parts)


def _held_out(found: Mapping[str, Any]) -> str:
    recall = ", ".join(f"{name} {part:.1f} %" for name, part in found["recall"].items())
    return (
        f"**On speakers that were not heard: {held_out.figures(found)}**. Recall over "
        f"all folds: {recall}. It is the same recipe under protocol "
        f"`{found['protocol']}`: each fold's network was trained on "
        f"{_range(found['trained'])} utterances, and tested, after its last epoch, on "
        f"speakers that are not among them (`{found['command']}`). The network in this "
        "folder was trained on all speakers; nobody of the corpus is left to test it "
        "on. Recordings made elsewhere differ more than other speakers of one corpus "
        "do: expect less."
    )


def _own(report: Mapping[str, Any]) -> str:
    summary = report["summary"]["selected"]
    count = summary["wa"]["n"]
    over = f"mean and standard deviation over {count} runs" if count > 1 else "one run"
    tested = sum(run["test_utterances"] for run in report["runs"])
    measured = ", ".join(
        f"{metrics.TITLES[name]} {tables.mean_sd(summary[name])} %"
        for name in metrics.NAMES
    )
    speakers = {
        None: "It is not known whether speakers of the test were trained on.",
        False: "No speaker of the test was trained on.",
        True: "**The test's speakers were trained on too**: expect less on new voices.",
    }[leakage.heard(report["splits"]["both_sides"])]
    return "\n\n".join(
        [
            f"Protocol `{report['protocol']}`, "
            f"{results.SELECTIONS[report['selection']]}: {measured} "
            f"({over}, {tested} test utterances in all; WA is accuracy, UA mean "
            f"recall). {speakers}",
            *([_OF_ALL_RUNS] if count > 1 else []),
            *[f"**Warning: {warning}.**" for warning in report["splits"]["warnings"]],
        ]
    )
