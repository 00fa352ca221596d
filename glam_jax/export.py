r"""Exports a trained model as a folder that needs nothing of this project.

  python -m glam_jax.export runs/emodb_train_glam_speaker --out=exported
  python -m glam_jax.export exported --out=again --format=onnx --measure
  python -m glam_jax.export runs/emodb_train_glam_everything --out=exported \
      --held_out=runs/emodb_train_glam_speaker

The folder holds model.onnx and model.stablehlo (waveforms at 16 kHz in, probabilities
out), example.py, MODEL_CARD.md, and model.json with the weights, which `glam_jax.load`
opens. Both graphs are compared with the model before the folder is written. A model of
all speakers (protocol everything) has no figures of its own worth telling: --held_out
names a training of the same recipe that left speakers out, whose figures go into the
card.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import importlib.util
import os
import pathlib
import re
from collections.abc import Sequence

from absl import app, flags

from data_prep import paths
from glam_jax import card, command, results

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    flags.DEFINE_string("out", "exported", "Folder that receives the files.")
    flags.DEFINE_string("run", "0", "Number of a run, or all: the runs' mean.")
    flags.DEFINE_list("format", ["stablehlo", "onnx"], "Which graphs to write, if any.")
    flags.DEFINE_string(
        "speech", None, "Folder of recordings to compare the answers on, not noise."
    )
    flags.DEFINE_string(
        "held_out", None, "A training of the same recipe that left speakers out."
    )
    flags.DEFINE_bool(
        "measure", False, "Also time the answers, on one core, and print a table."
    )


def check(arguments: Sequence[str], out: pathlib.Path, formats: Sequence[str]) -> None:
    """Raises ValueError when the command cannot be done, before JAX is imported."""
    if len(arguments) != 1:
        raise ValueError(
            "name one trained model: python -m glam_jax.export RUN --out=exported"
        )
    if set(formats) - card.PACKAGES.keys():
        raise ValueError(
            f"--format={','.join(formats)}: there are {', '.join(card.PACKAGES)}"
        )
    for needed in [name for kind in formats for name in card.PACKAGES[kind]]:
        if importlib.util.find_spec(needed) is None:
            raise ValueError(
                f"--format={','.join(formats)} needs the package {needed}: pip install "
                "-e .[export]"
            )
    if paths.local(arguments[0], "MODEL").resolve() == out.resolve():
        raise ValueError(f"--out={out} is the model itself; give another folder")
    if (out / "model.json").exists():
        if "exported" not in results.read_json(out / "model.json"):
            raise ValueError(
                f"--out={out} holds a trained model that is no export; give another "
                "folder"
            )
    elif out.exists() and any(
        not _is_of_an_export(path.name) for path in out.iterdir()
    ):
        raise ValueError(f"--out={out} holds other files; give another folder")


def _is_of_an_export(name: str) -> bool:
    """Whether a file may be what an interrupted export left."""
    kinds = "|".join(card.PACKAGES)
    made = rf"model\.({kinds})|weights_\d+\.safetensors|{card.CARD}|{card.EXAMPLE}"
    return re.fullmatch(rf"{made}|\.({made}|model\.json)\.incomplete", name) is not None


def export(arguments: Sequence[str]) -> None:
    """Does what the flags say."""
    out = paths.local(FLAGS.out, "--out")
    check(arguments, out, FLAGS.format)
    if FLAGS.measure and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])  # one core
    from glam_jax import exported, parallel

    parallel.use_single_precision()
    with paths.written(out, paths.make_room("--out")):
        told, trained, answers = exported.write(
            paths.local(arguments[0], "MODEL"),
            out,
            FLAGS.run,
            FLAGS.format,
            paths.local(FLAGS.speech, "--speech") if FLAGS.speech else None,
            paths.local(FLAGS.held_out, "--held_out") if FLAGS.held_out else None,
        )
    print("\n".join([*exported.sentences(told), f"All files: {out}"]), flush=True)
    if FLAGS.measure:
        from glam_jax.benchmark import answers as benchmark
        from glam_jax.benchmark import rows

        print(f"\n{rows.table(benchmark.rows(trained, answers))}")


def main(argv: list[str]) -> None:
    command.run(lambda: export(argv[1:]))


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
