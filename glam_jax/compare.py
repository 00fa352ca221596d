r"""Compares finished trainings on the same test utterances.

  python -m glam_jax.compare runs/emodb_train_glam_speaker \
      runs/emodb_train_mhcnn_speaker --out=compared

Writes to --out: table.md, table.tex and table.csv (mean and deviation over the runs),
pairs.csv (the difference of each two trainings with its 95 % interval and p, over runs
and, where they are tested on other speakers than they are trained on, over speakers),
and side by side the figures confusion, curves, embedding and reliability (.png, .pdf).
"""

import itertools
import pathlib

from absl import app, flags

from data_prep import paths
from glam_jax import command, comparison, results, tables

_OUT = flags.DEFINE_string("out", "compared", "Folder that receives the files.")


def compare(folders: list[pathlib.Path], out: pathlib.Path) -> None:
    """Writes what the command promises, and prints the table.

    Args:
      folders: The folders of the trainings.
      out: It receives the files.

    Raises:
      ValueError: When they cannot be compared, with what differs.
    """
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
    folders = [paths.local(name, "RUN") for name in argv[1:]]
    command.run(lambda: compare(folders, paths.local(_OUT.value, "--out")))


if __name__ == "__main__":
    app.run(main, flags_parser=command.parse)
