r"""Tests a trained model on another corpus. For example:

  python -m glam_jax.evaluate runs/emodb_train_glam_speaker \
      --config=configs/table.py:urdu
  python -m glam_jax.evaluate MODEL --config=configs/table.py:mine \
      --map=happy:joy,happiness --map=sad:sorrow --out=evaluated/mine

MODEL is the folder of a training, or an exported one. All utterances of the config's
corpus (of config.tfds_splits) are tested by each run of the model and by the mean of
their probabilities; the corpus must be prepared as the model reads it. Of the config
only the corpus, its folder, its TFDS splits and its classes count.

The classes are those that both have. --map says which words of the corpus are a class
of the model; without it they are the words of the config's class of that name, and
those equal to the words of the training. What is left out is said.

--out receives what a training leaves: report.md, report.json, predictions.csv,
utterances.csv and the figures; `python -m glam_jax.compare` compares such folders.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

from collections.abc import Sequence

from absl import app, flags

from data_prep import paths
from glam_jax import command

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    command.define_config()
    flags.DEFINE_multi_string(
        "map", [], "CLASS:WORD,WORD: the corpus's words for a class of the model."
    )
    flags.DEFINE_bool(
        "leave_out_trained", False, "Leaves out recordings that were in the training."
    )
    flags.DEFINE_string(
        "out", None, "Folder that receives the files (default: evaluated/MODEL_CORPUS)."
    )


def parse_map(written: Sequence[str]) -> dict[str, list[str]]:
    """['happy:joy,happiness'] -> {'happy': ['joy', 'happiness']}.

    Raises:
      ValueError: For what is not of this form, or a class or a word named twice.
    """
    words: dict[str, list[str]] = {}
    for part in written:
        name, colon, rest = part.partition(":")
        of_class = [word.strip() for word in rest.split(",")]
        if not (name.strip() and colon and all(of_class)):
            raise ValueError(f"--map={part}: it must be of the form CLASS:WORD,WORD")
        words.setdefault(name.strip(), []).extend(of_class)
    named = [word for of_class in words.values() for word in of_class]
    if twice := [word for word in named if named.count(word) > 1]:
        raise ValueError(f"--map names {twice[0]!r} twice")
    return words


def evaluate(named: Sequence[str]) -> None:
    """Does what the flags say.

    Args:
      named: The model.

    Raises:
      ValueError: When the command is not understood, or the test cannot be made.
    """
    if len(named) != 1:
        raise ValueError(
            "name one trained model: python -m glam_jax.evaluate MODEL "
            "--config=configs/table.py:NAME"
        )
    model, config = paths.local(named[0], "MODEL"), FLAGS.config
    words = parse_map(FLAGS.map)
    name = f"evaluated/{model.resolve().name}_{config.corpus}"
    out = paths.local(FLAGS.out or name, "--out")
    command.set_up_jax()
    from glam_jax import evaluation, evaluation_report

    question = evaluation.Question(model, config, words, FLAGS.leave_out_trained)
    found = evaluation.evaluate(question, out)
    for line in [evaluation_report.title(found), *evaluation_report.left_out(found)]:
        print(line)
    for warning in found["splits"]["warnings"]:
        print(f"warning: {warning}")
    print(f"{evaluation_report.table(found)}\nAll files: {out}")


def main(argv: list[str]) -> None:
    command.run(lambda: evaluate(argv[1:]))


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
