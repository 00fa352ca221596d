r"""Compares finished trainings on the same test utterances.

  python -m glam_jax.compare runs/emodb_train_glam_speaker \
      runs/emodb_train_mhcnn_speaker --out=compared

Writes to --out: table.md, table.tex and table.csv (mean and deviation over the runs),
pairs.csv (the difference of each two trainings with its 95 % interval and p, over runs
and, where they are tested on other speakers than they are trained on, over speakers),
and side by side the figures confusion, curves, embedding and reliability (.png, .pdf).
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import itertools

from absl import app, flags

from data_prep import paths
from glam_jax import command, comparison, results, tables

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    flags.DEFINE_string("out", "compared", "Folder that receives the files.")


def compare(names: list[str]) -> None:
    """Writes what the command promises, and prints the table.

    Args:
      names: The folders of the trainings.

    Raises:
      ValueError: When they cannot be compared, with what differs.
    """
    folders = [paths.local(name, "RUN") for name in names]
    out = paths.local(FLAGS.out, "--out")
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise ValueError(
            "name two or more different folders of finished trainings: python -m "
            "glam_jax.compare RUN RUN ..."
        )
    trainings = results.told_apart([results.read(folder) for folder in folders])
    for first, second in itertools.combinations(trainings, 2):
        if differs := comparison.what_differs(first, second):
            raise ValueError(
                f"{first.folder} and {second.folder} cannot be compared: {differs}"
            )
    print(tables.write(out, "", [trainings]))
    print(f"All files: {out}")


def main(argv: list[str]) -> None:
    command.run(lambda: compare(argv[1:]))


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
