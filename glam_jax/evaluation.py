"""A trained model tested on a corpus that is not its own, as a training reports."""

import dataclasses
import json
import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from data_prep import claims, paths, text
from data_prep.corpora import table as table_lib
from glam_jax import (
    evaluation_report,
    input_pipeline,
    metrics,
    prepared,
    provenance,
    recognizer,
    report,
    results,
    splits,
    train,
    values,
    weights,
    workdir,
)
from glam_jax.splits import labels, leakage, split_files

BATCH_SIZE = 128  # segments at once
PROTOCOL = "everything"  # by which the corpus is read: all of it
_SHOWN = 3  # recordings that an error names


@dataclasses.dataclass(frozen=True)
class Question:
    """What is tested on what.

    Attributes:
      model: The folder of a model, all runs of which are tested.
      config: It names the corpus, its folder, its TFDS splits and perhaps its classes;
        nothing else of it counts.
      words: The corpus's words for some of the model's classes.
      leaves_out_trained: Whether recordings of the training are left out, instead of
        an error.
    """

    model: pathlib.Path
    config: ml_collections.ConfigDict
    words: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    leaves_out_trained: bool = False


def evaluate(question: Question, out: pathlib.Path) -> dict[str, Any]:
    """Tests a model, and writes the files of a report into a folder.

    The same question to the same folder is answered by what is there.

    Args:
      question: What to test.
      out: The folder; it must be empty, not there, or of this question.

    Returns:
      What report.json holds: the report of a training, with 'evaluation'.

    Raises:
      ValueError: When there is no such model or data set, when fewer than two classes
        are in both, when recordings of the training would be tested, or when the
        folder holds something else.
    """
    description = weights.read(question.model)
    config, told = _configure(question, description)
    values.check(config)
    dataset = input_pipeline.load(config)
    trained = _trained(question.model)
    tested, told["left_out_trained"] = _untrained(question, trained, dataset)
    asked = {
        "model": str(question.model),
        "weights": [run["sha256"] for run in description["runs"]],
        "classes": config.classes,
        "utterances": results.digest(dataset.ids[tested].tolist()),
        "data_digest": provenance.digest(dataset),
    }
    told |= asked
    if out.exists():
        _claim(out, asked)
    with paths.written(out, paths.make_room("--out")), claims.hold(out):
        if done := train.complete(out):
            return done
        for name in (results.REPORT, "metrics.jsonl", "predictions.csv"):
            (out / name).unlink(missing_ok=True)
        outputs = workdir.Workdir(out, dataset.class_names)
        outputs.model = {"evaluation": asked, "runs": []}
        workdir.write_atomically(
            out / weights.MODEL, results.json_text(outputs.model)
        )  # it marks the folder
        found = _test(question, description, config, dataset, tested, outputs, told)
        found["splits"] = _splits(question, description, trained, dataset, tested)
        return _write(outputs, found)


def _configure(
    question: Question, description: dict[str, Any]
) -> tuple[ml_collections.ConfigDict, dict[str, Any]]:
    """A config that reads the corpus as the model does, with the classes of both.

    And what the report says of them.
    """
    config = question.config.copy_and_resolve_references()
    seen = description["features"]
    config.features, config.pad_mode = seen["kind"], seen["pad_mode"]
    config.segment = seen["segment"]
    config.hop = config.test_hop = seen["hop"]
    config.model, config.dtype = description["model"], description["dtype"]
    prepared.plain_inputs(config)
    config.split_file, config.short = "", weights.short(description)
    is_transductive = weights.is_transductive(description)
    config.normalise = "speaker" if is_transductive else "none"
    prepared.check_corpus(config)
    found = prepared.emotions(config)
    config.protocol = description.get("protocol", PROTOCOL)
    own = {}
    if config.classes or any(config.label_sets.values()):
        own = labels.label_set(config)
    known = _words_of_model(question.model, description["classes"])
    shared = match(found, known, own, question.words)
    config.protocol = PROTOCOL
    if len(shared) < 2:
        raise ValueError(
            f"the model tells {', '.join(description['classes'])} apart, and of them "
            f"{config.corpus} has {', '.join(shared) or 'none'}: its emotions are "
            f"{text.printable(', '.join(sorted(found)))}. Say which are which, such as "
            f"--map={description['classes'][0]}:{min(found, default='WORD')}"
        )
    config.classes = labels.written(shared)
    used = {word for words in shared.values() for word in words}
    return config, {
        "trained_on": description["corpus"] or "an unknown corpus",
        "words": {name: list(words) for name, words in shared.items()},
        "left_out_classes": [n for n in description["classes"] if n not in shared],
        "left_out_words": {w: found[w] for w in sorted(found) if w not in used},
    }


def _words_of_model(
    folder: pathlib.Path, class_names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The words of each class in the training, as far as its folder tells them."""
    known: dict[str, tuple[str, ...]] = {}
    if (folder / workdir.CONFIG).is_file():
        known = labels.label_set(results.read_json(folder / workdir.CONFIG))
    return {name: (name, *known.get(name, ())) for name in class_names}


def match(
    found: Counter | Mapping[str, int],
    known: Mapping[str, Sequence[str]],
    own: Mapping[str, Sequence[str]],
    given: Mapping[str, Sequence[str]],
) -> dict[str, tuple[str, ...]]:
    """Which words of a corpus are which classes of a model.

    What is given counts first, then the classes of the corpus's config, then words
    that are equal but for case and blanks.

    Args:
      found: The utterances of each word of the corpus.
      known: The words of each class of the model.
      own: The words of each class of the config.
      given: Words for some classes of the model.

    Returns:
      The words of each class that has any, in the order of the model.

    Raises:
      ValueError: When the words that are given fit neither.
    """
    class_of: dict[str, str] = {}
    for name, words in known.items():
        alike = {table_lib.spelling(word) for word in words}
        class_of |= {w: name for w in found if table_lib.spelling(w) in alike}
    for name, words in own.items():
        if name in known:
            class_of |= {word: name for word in words if word in found}
    for name, words in given.items():
        if name not in known:
            raise ValueError(
                f"--map: {name!r} is no class of the model; its classes are "
                f"{', '.join(known)}"
            )
        if unknown := [word for word in words if word not in found]:
            raise ValueError(
                f"--map: no utterance is {unknown[0]!r}; there are "
                f"{text.printable(', '.join(sorted(found)))}"
            )
        class_of |= dict.fromkeys(words, name)
    of_class = {
        name: tuple(sorted(word for word, n in class_of.items() if n == name))
        for name in known
    }
    return {name: words for name, words in of_class.items() if words}


def _untrained(
    question: Question,
    trained: list[dict[str, str]] | None,
    dataset: input_pipeline.Dataset,
) -> tuple[np.ndarray, int]:
    """The utterances that are tested, and how many others the training had.

    Raises:
      ValueError: When it had any, and they are not to be left out, or it had all.
    """
    digests = {row["content"] for row in trained or []} - {""}
    content = dataset.groups.content
    known = np.flatnonzero(np.isin(content, sorted(digests)))
    tested = np.setdiff1d(np.arange(len(content)), known)
    if not len(known) or (question.leaves_out_trained and len(tested)):
        return tested, len(known)
    names = ", ".join(dataset.ids[known[:_SHOWN]])
    etc = ", ..." if len(known) > _SHOWN else ""
    advice = (
        f"--leave_out_trained tests the other {len(tested)}"
        if len(tested)
        else f"what it did on those held out is in {question.model / report.MARKDOWN}"
    )
    raise ValueError(
        f"{len(known)} of {len(content)} recordings of {question.config.corpus} are in "
        f"the training of {question.model} ({text.printable(names)}{etc}), so that a "
        f"test on them says little; {advice}"
    )


def _trained(folder: pathlib.Path) -> list[dict[str, str]] | None:
    """The rows of a training's utterances.csv; None where there is no such file.

    Raises:
      ValueError: When it is not what was written.
    """
    path = folder / results.UTTERANCES
    written = results.read_json(folder / results.MODEL).get("files", {})
    if path.name in written and path in results.not_as_written(folder):
        raise ValueError(
            f"{path} is missing or not what was written, and says what trained; the "
            f"training's command makes it again: python -m glam_jax.main --config=... "
            f"--workdir={folder}"
        )
    if not path.is_file():
        return None
    header, rows = text.read_csv(path)
    return [dict(zip(header, row, strict=True)) for row in rows]


def _claim(out: pathlib.Path, asked: dict[str, Any]) -> None:
    """Raises ValueError when a folder holds anything but this evaluation."""
    others = [path for path in out.iterdir() if not path.name.startswith(".")]
    if not others:
        return
    advice = "give another --out, or delete this one"
    if not (out / weights.MODEL).exists():
        raise ValueError(f"{out} holds other files, such as {others[0].name}; {advice}")
    found = results.read_json(out / weights.MODEL).get("evaluation")
    if found is None:
        raise ValueError(f"{out} holds a trained model; {advice}")
    differs = [key for key in asked if found.get(key) != asked[key]]
    if differs and differs != ["model"]:  # its path: the weights say which it is
        raise ValueError(
            f"{out} holds another evaluation (other {', '.join(differs)}); {advice}"
        )


def _test(question, description, config, dataset, tested, outputs, told) -> dict:
    """Tests all runs: what report.json holds but for who was tested."""
    folder, origin = outputs.folder, provenance.begin(dataset)
    model = recognizer.restore(question.model, "all")
    logits, embeddings = _outputs(model, dataset, tested)
    order = [description["classes"].index(name) for name in dataset.class_names]
    if len(order) < logits.shape[2]:
        away = ~np.isin(logits.argmax(axis=2), order)
        told["taken_for_left_out"] = 100 * float(away.mean())
    probabilities = recognizer.softmax(logits[:, :, order])
    told["ensemble"] = _measure(dataset.labels[tested], probabilities.mean(axis=0))
    _add_runs(question.model, description, dataset, tested, probabilities, outputs)
    outputs.keep_utterances(dataset)
    text.write_text(folder / workdir.SPLITS, _split_table(dataset, tested))
    used = json.loads(config.to_json_best_effort())
    text.write_text(folder / workdir.CONFIG, json.dumps(used, indent=2) + "\n")
    if embeddings is not None:
        report.save_embedding(folder, embeddings, dataset.labels[tested])
    used["num_epochs"] = max(run.get("epoch", 0) for run in description["runs"])
    return report.summarise(used, outputs, list(dataset.class_names)) | {
        "protocol": description.get("protocol", "unknown"),
        "evaluation": told,
        "features": description["features"],
        "provenance": origin | {"ended": provenance.now()},
    }


def _write(outputs: workdir.Workdir, found: dict[str, Any]) -> dict[str, Any]:
    """Writes report.md, the figures and, last, report.json."""
    folder = outputs.folder
    text.write_text(folder / report.MARKDOWN, evaluation_report.markdown(found))
    from glam_jax import figures  # importing matplotlib takes seconds

    figures.write(folder, [results.read(folder, found)])
    written = json.dumps(found, indent=2) + "\n"
    outputs.seal(written)
    text.write_text(folder / results.REPORT, written)
    return found


def _add_runs(model, description, dataset, tested, probabilities, outputs) -> None:
    """Keeps what each run told: predictions, and a row of metrics.jsonl."""
    of_training = workdir.Metrics(model)
    labels_of = dataset.labels[tested]
    for run, of_run in zip(description["runs"], probabilities, strict=True):
        rows = of_training.of_run(run["run"])
        # Where it is not known it counts as large as the test, for the interval.
        count = rows[0]["train_utterances"] if rows else len(tested)
        told = {
            "run": run["run"],
            "seed": run.get("seed", run["run"]),
            "fold": run.get("fold", ""),
            "epoch": run.get("epoch", 0),
            "train_utterances": count,
        }
        outputs.metrics.add(told | _measure(labels_of, of_run))
        outputs.predictions.add(run["run"], dataset.ids[tested], labels_of, of_run)


def _split(tested: np.ndarray) -> splits.Split:
    return splits.Split(tested[:0], tested[:0], tested)


def _split_table(dataset: input_pipeline.Dataset, tested: np.ndarray) -> str:
    return split_files.to_csv(dataset.ids, ["evaluated"], [_split(tested)])


def _measure(true: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    predicted, count = probabilities.argmax(axis=1), probabilities.shape[1]
    return metrics.from_confusion(metrics.confusion_matrix(true, predicted, count))


def _outputs(
    trained: recognizer.Recognizer,
    dataset: input_pipeline.Dataset,
    utterances: np.ndarray,
) -> tuple[np.ndarray, np.ndarray | None]:
    """What a model says of some utterances, by the means over their segments.

    Returns:
      (runs, n, classes) logits, and (n, features) embeddings of the first run, None
      where the network names none.
    """
    segments = dataset.testing_segments(utterances)
    owners = np.searchsorted(utterances, dataset.utterance[segments])
    counts = np.bincount(owners, minlength=len(utterances))[:, None]
    sums: list[np.ndarray] = []  # of each run's logits, and of embeddings if any
    for start in range(0, len(segments), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        x = dataset.features[segments[rows]]
        logits, embedding = trained.from_features(x, BATCH_SIZE)
        told = [*logits, *([] if embedding is None else [embedding])]
        if not sums:
            sums = [np.zeros((len(utterances), t.shape[1]), np.float32) for t in told]
        for total, of_batch in zip(sums, told, strict=True):
            np.add.at(total, owners[rows], of_batch)
    means = [(total / counts).astype(np.float32) for total in sums]
    runs = len(trained.description["runs"])
    return np.stack(means[:runs]), means[runs] if len(means) > runs else None


def _splits(
    question: Question,
    description: dict[str, Any],
    trained: list[dict[str, str]] | None,
    dataset: input_pipeline.Dataset,
    tested: np.ndarray,
) -> dict[str, Any]:
    """What report.json says of who was tested, see `report.write`."""
    warnings = []
    same = {*description["corpus"].split("+")} & {*question.config.corpus.split("+")}
    if trained is None:
        warnings.append(
            f"{question.model} does not say on which recordings it was trained: "
            "whether these are among them cannot be told"
            + (f"; it was trained on {', '.join(sorted(same))}" if same else "")
        )
    both_sides = {}
    if trained is not None:
        both_sides = leakage.measure([_split(tested)], dataset.groups)
    for what, count in both_sides.items():
        names = getattr(dataset.groups, what)[tested].tolist()
        learned = [row[what] for row in trained or []]
        if what != "content":  # a speaker 03 may be anybody's
            names = _of_corpus(names, question.config.corpus)
            learned = _of_corpus(learned, description["corpus"])
        count["shared"] = float(len(set(names) & set(learned) - {""}))
        if unnamed := learned.count(""):
            count["unnamed"] = float(unnamed)
    absent = [
        name
        for label, name in enumerate(dataset.class_names)
        if label not in dataset.labels[tested]
    ]
    warnings += [f"class {name} is not tested" for name in absent]
    if weights.is_transductive(description):
        warnings.append(results.TRANSDUCTIVE)
    return {
        "file": "",
        "file_sha256": "",
        "sha256": split_files.digest(_split_table(dataset, tested)),
        "utterances": {
            "used": len(tested),
            "of": len(dataset.labels),
            "too_short": dataset.too_short,
            "train": [0, 0],
            "validation": [0, 0],
            "test": [len(tested), len(tested)],
        },
        "both_sides": both_sides,
        "warnings": warnings,
    }


def _of_corpus(names: Sequence[str], corpus: str) -> list[str]:
    """Names with that of their corpus, which they have where there are several."""
    if "+" in corpus:
        return list(names)
    return [f"{corpus}/{name}" if name else "" for name in names]
