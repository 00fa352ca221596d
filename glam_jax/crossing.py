"""Training on each of some corpora and testing on each: cells, tests and the matrix."""

import dataclasses
import pathlib
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from data_prep import claims, text
from data_prep.corpora import table as table_lib
from glam_jax import grid, markup, metrics, prepared, results, splits, tables, values
from glam_jax.splits import labels

MEASURES = ("ua", "wa")
WHOLE = "everything"  # the protocol of what is tested on other corpora
LONG = "trained tested protocol measure mean sd n utterances folder"  # of matrix.csv


@dataclasses.dataclass(frozen=True)
class Crossing:
    """What is trained and tested.

    Attributes:
      whole: The training on all of each corpus, by its name.
      alone: The training that tests a corpus on its own held-out utterances.
      classes: The words of each class in each corpus.
    """

    whole: dict[str, grid.Cell]
    alone: dict[str, grid.Cell]
    classes: dict[str, dict[str, tuple[str, ...]]]

    @property
    def cells(self) -> list[grid.Cell]:
        """All trainings."""
        return [*self.whole.values(), *self.alone.values()]

    def folder(self, trained: str, tested: str, out: pathlib.Path) -> pathlib.Path:
        """Where the report of an entry of the matrix lies."""
        if trained == tested:
            return self.alone[trained].folder(out)
        folder = self.whole[trained].folder(out)
        other = self.whole[tested].folder(out).name.rpartition("_")[2]
        return folder.with_name(f"{folder.name}_on_{tested}_{other}")


def plan(
    config: ml_collections.ConfigDict, corpora: Sequence[str], protocol: str
) -> Crossing:
    """Plans the trainings, and says which classes and protocols they have.

    Args:
      config: What all have in common; without classes, those emotions are classes that
        all corpora have under one word.
      corpora: The names of the corpora.
      protocol: That of the diagonal; '' for the one that the data allow.

    Raises:
      ValueError: When a corpus is not prepared, or fewer than two classes are in all.
    """
    if len(set(corpora)) < max(2, len(corpora)):
        raise ValueError(
            f"--corpora={','.join(corpora)}: name two or more different corpora"
        )
    configs = {name: _of_corpus(config, name) for name in corpora}
    for of_corpus in configs.values():
        prepared.check_corpus(of_corpus)
    missing = [m for of_corpus in configs.values() for m in prepared.missing(of_corpus)]
    if missing:
        raise ValueError(prepared.not_prepared(missing, config.data_dir))
    found = {name: prepared.emotions(configs[name]) for name in corpora}
    classes = shared_classes(config, found)
    whole, alone = {}, {}
    for name, of_corpus in configs.items():
        of_corpus.classes = labels.written(
            {class_name: words[name] for class_name, words in classes.items()}
        )
        of_all = of_corpus.copy_and_resolve_references()
        of_all.protocol, of_all.num_runs = WHOLE, config.num_runs or 1
        if not protocol:
            print(f"{name}:")
        of_corpus.protocol = protocol
        prepared.complete(of_corpus)
        has_folds = splits.protocol(of_corpus.protocol).folds is not splits.no_folds
        of_corpus.num_runs = 0 if has_folds else config.num_runs
        for of_training in (of_all, of_corpus):
            values.check(of_training)
        whole[name] = grid.Cell("tested on the others", of_all)
        alone[name] = grid.Cell("tested on its own", of_corpus)
    return Crossing(whole, alone, classes)


def _of_corpus(
    config: ml_collections.ConfigDict, name: str
) -> ml_collections.ConfigDict:
    of_corpus = config.copy_and_resolve_references().unlock()
    of_corpus.corpus, of_corpus.tfds_splits = name, ()
    return of_corpus


def shared_classes(
    config: ml_collections.ConfigDict, found: Mapping[str, Counter]
) -> dict[str, dict[str, tuple[str, ...]]]:
    """The classes that all corpora have, with the words of each corpus.

    Args:
      config: Its classes count; where it names none, words that are equal but for case
        and blanks are a class.
      found: The utterances of each word, by corpus.

    Raises:
      ValueError: When there are fewer than two.
    """
    if config.classes:
        named = labels.label_set(config)
        class_of = {word: name for name, words in named.items() for word in words}
    else:
        words = {word for of_corpus in found.values() for word in of_corpus}
        class_of = {word: table_lib.spelling(word) for word in words}
    shared, only = {}, []
    for name in dict.fromkeys(class_of.values()):
        words_of = {
            corpus: tuple(sorted(w for w in counts if class_of.get(w) == name))
            for corpus, counts in found.items()
        }
        if all(words_of.values()):
            shared[name] = words_of
        else:
            only.append(name)
    if not config.classes:
        shared, only = dict(sorted(shared.items())), sorted(only)
    if only:
        print(f"not in all corpora: {text.printable(', '.join(only))}")
    if len(shared) < 2:
        listed = "; ".join(
            f"{corpus} has {', '.join(sorted(counts))}"
            for corpus, counts in found.items()
        )
        raise ValueError(
            f"the corpora share {', '.join(shared) or 'no class'}, and two classes "
            "are needed. Name the words of each, such as --config.classes="
            f'"sad=sad,sadness angry=angry,anger": {text.printable(listed)}'
        )
    return shared


def cross(
    crossing: Crossing, mine: Sequence[grid.Cell], out: pathlib.Path
) -> pathlib.Path:
    """Trains what is missing, tests what is trained, and writes the matrix.

    Args:
      crossing: All of it.
      mine: The trainings of this process.
      out: The folder of all trainings, tests and matrices.

    Returns:
      The folder of the matrix.

    Raises:
      ValueError: At the end, when a loss was not finite.
    """
    todo = [cell for cell in mine if not results.is_whole(cell.folder(out))]
    grid.check(todo)
    done = len(mine) - len(todo)
    print(f"{len(mine)} trainings, {done} of them finished")
    failed = grid.train(todo, out)
    for trained, tested in entries(crossing):
        if trained != tested:
            _test(crossing, trained, tested, out)
    folder = out / "+".join(crossing.whole)
    with claims.hold(folder, patience=300):
        write(crossing, out, folder)
    if failed:
        raise ValueError("these trainings are not in the matrix:\n" + "\n".join(failed))
    return folder


def entries(crossing: Crossing) -> list[tuple[str, str]]:
    """(trained, tested) of all entries of the matrix, row by row."""
    names = list(crossing.whole)
    return [(trained, tested) for trained in names for tested in names]


def _test(crossing: Crossing, trained: str, tested: str, out: pathlib.Path) -> None:
    """Tests a training on another corpus, where it is finished and not tested yet."""
    model = crossing.whole[trained].folder(out)
    folder = crossing.folder(trained, tested, out)
    if not results.is_whole(model):
        return
    if (folder / results.MODEL).exists():
        told = results.read_json(folder / results.MODEL)["evaluation"]
        runs = results.read_json(model / results.MODEL)["runs"]
        if told["weights"] != [run["sha256"] for run in runs]:
            print(f"{folder} is of a model that was trained again since; it is deleted")
            shutil.rmtree(folder)
        elif results.is_whole(folder):
            return
    from glam_jax import evaluation  # importing JAX takes seconds

    print(f"testing {trained} on {tested}")
    question = evaluation.Question(
        model, crossing.whole[tested].config, leaves_out_trained=True
    )
    try:
        evaluation.evaluate(question, folder)
    except claims.Held as error:
        print(f"passed over: {error}")


def write(crossing: Crossing, out: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes the matrix of what is finished as matrix.md, .tex, .csv, .png and .pdf."""
    reports = {
        entry: results.read_report(crossing.folder(*entry, out))
        for entry in entries(crossing)
        if grid.is_finished(crossing.folder(*entry, out))
    }
    if reports:
        written = as_markdown(crossing, reports)
        text.write_text(folder / "matrix.md", written)
        text.write_text(folder / "matrix.tex", as_latex(crossing, reports))
        lines = long(crossing, reports, out)
        header = LONG.split()
        rows = [[line[key] for key in header] for line in lines]
        text.write_text(folder / "matrix.csv", text.csv_text(header, rows))
        _draw(crossing, reports, folder)
        print(f"\n{written}\nAll files: {folder}")
    if left := len(entries(crossing)) - len(reports):
        print(f"{left} entries are not in the matrix; see --list")


def _cell(report: dict[str, Any] | None, measure: str) -> str:
    return tables.mean_sd(report["summary"]["selected"][measure]) if report else ""


def _caption(crossing: Crossing) -> str:
    """What the matrix holds, in a few sentences."""
    first = next(iter(crossing.whole.values())).config
    own = {name: cell.config.protocol for name, cell in crossing.alone.items()}
    if len(set(own.values())) == 1:
        protocol = next(iter(own.values()))
    else:
        protocol = ", ".join(f"{name} {of_corpus}" for name, of_corpus in own.items())
    independent = all(
        splits.protocol(name).never_shared[:1] in (("speaker",), ("session",))
        for name in own.values()
    )
    kind = "a speaker-independent result" if independent else "a result"
    return (
        f"{first.model}, {first.num_epochs} epochs, classes "
        f"{', '.join(crossing.classes)} (chance: UA {100 / len(crossing.classes):.1f})."
        " In percent, mean ± sd over runs. A row is what was trained on, all of it; on "
        f"the diagonal stands {kind} of that corpus (protocol {protocol})."
    )


def as_markdown(crossing: Crossing, reports: Mapping) -> str:
    """The matrices of UA and WA, the corpora and the classes, as Markdown."""
    names = list(crossing.whole)
    blocks = [f"# {markup.markdown_text(' x '.join(names))}"]
    blocks.append(markup.markdown_text(_caption(crossing)))
    for measure in MEASURES:
        lines = [
            {"trained on": a}
            | {f"tested on {b}": _cell(reports.get((a, b)), measure) for b in names}
            for a in names
        ]
        blocks += [f"## {metrics.TITLES[measure]}", markup.markdown(lines)]
    blocks += [
        f"**Warning: {markup.markdown_text(f'{a}, on its own: {warning}')}.**"
        for (a, b), report in reports.items()
        for warning in report["splits"]["warnings"]
        if a == b
    ]
    blocks += ["## Corpora", markup.markdown(_corpora(crossing, reports))]
    mapping = [
        {"class": name} | {c: ", ".join(words[c]) for c in names}
        for name, words in crossing.classes.items()
    ]
    blocks += ["## Words of the classes", markup.markdown(mapping)]
    return "\n\n".join(blocks) + "\n"


def _corpora(crossing: Crossing, reports: Mapping) -> list[markup.Line]:
    lines = []
    for name in crossing.whole:
        of_others = [r for (a, b), r in reports.items() if b == name != a]
        counts = {r["splits"]["utterances"]["used"] for r in of_others}
        own = reports.get((name, name))
        runs = sorted(
            {len(r["runs"]) for (a, b), r in reports.items() if a == name != b}
        )
        lines.append(
            {
                "corpus": name,
                "utterances tested by the others": " or ".join(
                    map(str, sorted(counts))
                ),
                "runs on all of it": " or ".join(map(str, runs)),
                "diagonal": f"{crossing.alone[name].config.protocol}"
                + (f", {len(own['runs'])} runs" if own else ", not finished"),
            }
        )
    return lines


def as_latex(crossing: Crossing, reports: Mapping) -> str:
    """UA and WA side by side as LaTeX, which needs the package booktabs."""
    names = list(crossing.whole)
    lines = [
        {"trained on": a}
        | {
            f"{b}, {metrics.TITLES[measure]}": _cell(reports.get((a, b)), measure)
            for measure in MEASURES
            for b in names
        }
        for a in names
    ]
    label = re.sub("[^a-z0-9]+", "-", "-".join(["cross", *names]).lower())
    table = markup.latex(lines, _caption(crossing), f"tab:{label}")
    return "\n\n".join([r"% \usepackage{booktabs}", table]) + "\n"


def long(
    crossing: Crossing, reports: Mapping, out: pathlib.Path
) -> list[dict[str, Any]]:
    """A row of matrix.csv for each entry and measure."""
    return [
        {
            "trained": trained,
            "tested": tested,
            "protocol": WHOLE if trained != tested else report["protocol"],
            "measure": measure,
            "utterances": report["splits"]["utterances"]["used"],
            "folder": crossing.folder(trained, tested, out).name,
            **report["summary"]["selected"][measure],
        }
        for (trained, tested), report in reports.items()
        for measure in metrics.NAMES
    ]


def _draw(crossing: Crossing, reports: Mapping, folder: pathlib.Path) -> None:
    from glam_jax import figures  # importing matplotlib takes seconds

    names = list(crossing.whole)
    matrices = {}
    for measure in MEASURES:
        matrix = np.full((len(names), len(names)), np.nan)
        for (trained, tested), report in reports.items():
            found = report["summary"]["selected"][measure]["mean"]
            matrix[names.index(trained), names.index(tested)] = found
        matrices[metrics.TITLES[measure]] = matrix
    caption = _caption(crossing).replace("mean ± sd over", "means over")
    caption = caption.replace("on the diagonal stands", "in a frame stands")
    figures.save(figures.crossed(names, matrices, caption), folder / "matrix")
