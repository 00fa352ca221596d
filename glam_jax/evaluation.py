"""A trained model tested on a corpus that is not its own, as a training reports."""

import dataclasses
import hashlib
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
    by_corpus,
    input_pipeline,
    markup,
    metrics,
    prepared,
    provenance,
    recognizer,
    report,
    results,
    splits,
    tables,
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
    tested, told["left_out_trained"] = _untrained(question, dataset)
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
        return _write(question, description, config, dataset, tested, outputs, told)


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
    config.split_file = ""
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
    question: Question, dataset: input_pipeline.Dataset
) -> tuple[np.ndarray, int]:
    """The utterances that are tested, and how many others the training had.

    Raises:
      ValueError: When it had any, and they are not to be left out, or it had all.
    """
    trained = {row["content"] for row in _trained(question.model) or []} - {""}
    content = dataset.groups.content
    known = np.flatnonzero(np.isin(content, sorted(trained)))
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
    if differs := [key for key in asked if found.get(key) != asked[key]]:
        raise ValueError(
            f"{out} holds another evaluation (other {', '.join(differs)}); {advice}"
        )


def _write(question, description, config, dataset, tested, outputs, told) -> dict:
    """Tests all runs, and writes all files, report.json last."""
    folder, origin = outputs.folder, provenance.begin(dataset)
    trained = recognizer.load(question.model, "all")
    logits, embeddings = _outputs(trained, dataset, tested)
    order = [description["classes"].index(name) for name in dataset.class_names]
    others = np.setdiff1d(np.arange(logits.shape[2]), order)
    if len(others):
        away = np.isin(logits.argmax(axis=2), others)
        told["taken_for_left_out"] = 100 * float(away.mean())
    probabilities = recognizer.softmax(logits[:, :, order])
    of_training = workdir.Metrics(question.model)
    for run, of_run in zip(description["runs"], probabilities, strict=True):
        rows = of_training.of_run(run["run"])
        count = rows[0]["train_utterances"] if rows else len(tested)
        outputs.metrics.add(
            {
                "run": run["run"],
                "seed": run.get("seed", run["run"]),
                "fold": run.get("fold", ""),
                "epoch": run.get("epoch", 0),
                "train_utterances": count,
                **_measure(dataset.labels[tested], of_run),
            }
        )
        outputs.predictions.add(
            run["run"], dataset.ids[tested], dataset.labels[tested], of_run
        )
    outputs.keep_utterances(dataset)
    everyone = np.arange(len(dataset.ids))
    split = splits.Split(everyone[:0], everyone[:0], tested)
    split_table = split_files.to_csv(dataset.ids, ["evaluated"], [split])
    text.write_text(folder / workdir.SPLITS, split_table)
    used = json.loads(config.to_json_best_effort())
    text.write_text(folder / workdir.CONFIG, json.dumps(used, indent=2) + "\n")
    if embeddings is not None:
        report.save_embedding(folder, embeddings, dataset.labels[tested])
    ensemble = _measure(dataset.labels[tested], probabilities.mean(axis=0))
    used["num_epochs"] = max(run.get("epoch", 0) for run in description["runs"])
    found = report.summarise(used, outputs, list(dataset.class_names)) | {
        "protocol": description.get("protocol", "unknown"),
        "evaluation": told | {"ensemble": ensemble},
        "splits": _splits(
            question.model, description, config.corpus, dataset, tested, split_table
        ),
        "features": description["features"],
        "provenance": origin | {"ended": provenance.now()},
    }
    text.write_text(folder / report.MARKDOWN, markdown(found))
    from glam_jax import figures  # importing matplotlib takes seconds

    figures.write(folder, [results.read(folder, found)])
    written = json.dumps(found, indent=2) + "\n"
    outputs.seal(written)
    text.write_text(folder / results.REPORT, written)
    return found


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
    sums, embedded = None, None
    for start in range(0, len(segments), BATCH_SIZE):
        rows = slice(start, start + BATCH_SIZE)
        x = dataset.features[segments[rows]]
        logits, embedding = trained.from_features(x, BATCH_SIZE)
        if sums is None:
            sums = np.zeros((len(logits), len(utterances), logits.shape[2]), np.float32)
            if embedding is not None:
                embedded = np.zeros((len(utterances), embedding.shape[1]), np.float32)
        for of_run, of_batch in zip(sums, logits, strict=True):
            np.add.at(of_run, owners[rows], of_batch)
        if embedded is not None:
            np.add.at(embedded, owners[rows], embedding)
    return sums / counts, None if embedded is None else embedded / counts


def _splits(
    model: pathlib.Path,
    description: dict[str, Any],
    corpus: str,
    dataset: input_pipeline.Dataset,
    tested: np.ndarray,
    split_table: str,
) -> dict[str, Any]:
    """What report.json says of who was tested, see `report.write`."""
    trained, warnings = _trained(model), []
    if trained is None:
        warnings.append(
            f"{model} does not say on which recordings it was trained: whether "
            "these are among them cannot be told"
        )
    everyone = np.arange(len(dataset.ids))
    split = splits.Split(everyone[:0], everyone[:0], tested)
    both_sides = leakage.measure([split], dataset.groups)
    for what, count in both_sides.items():
        names = getattr(dataset.groups, what)[tested].tolist()
        learned = [row[what] for row in trained or []]
        if what != "content":  # a speaker 03 may be anybody's
            names = _of_corpus(names, corpus)
            learned = _of_corpus(learned, description["corpus"])
        count["shared"] = float(len(set(names) & set(learned) - {""}))
    absent = [
        name
        for label, name in enumerate(dataset.class_names)
        if label not in dataset.labels[tested]
    ]
    warnings += [f"class {name} is not tested" for name in absent]
    return {
        "file": "",
        "file_sha256": "",
        "sha256": hashlib.sha256(split_table.encode()).hexdigest(),
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


def markdown(found: dict[str, Any]) -> str:
    """The whole report.md of an evaluation."""
    told, classes = found["evaluation"], found["classes"]
    of_class = np.sum(found["runs"][0]["confusion_matrix"], axis=1)
    counts = dict(zip(classes, of_class, strict=True))
    mapping = [
        {"class": name, "words": ", ".join(words), "utterances": str(counts[name])}
        for name, words in told["words"].items()
    ]
    blocks = [
        f"# {markup.markdown_text(title(found))}",
        markup.markdown_text(
            f"The models of {told['model']} were trained on {told['trained_on']} "
            f"(protocol {found['protocol']}), and none of what is tested here."
        ),
        markup.markdown(mapping),
        *map(markup.markdown_text, left_out(found)),
        "In percent: mean ± standard deviation over the n models (± half the 95 % "
        "interval of the mean, which allows for runs that share data: Nadeau & Bengio "
        "2003), and the mean of their probabilities.",
        table(found),
        *(["By corpus:", by_corpus.table(found)] if found["corpora"] else []),
        report.pooled(found),
        f"Splits: {leakage.describe(found['splits']['both_sides'])}.",
        *[
            f"**Warning: {markup.markdown_text(warning)}.**"
            for warning in found["splits"]["warnings"]
        ],
        report.confusion(found),
        "## Models",
        markup.markdown(_models(found)),
        "## How it was made",
        markup.markdown([{"": key, "value": value} for key, value in _origin(found)]),
    ]
    return "\n\n".join(blocks) + "\n"


def title(found: dict[str, Any]) -> str:
    """One line that names the model and what it was tested on."""
    told = found["evaluation"]
    count = found["splits"]["utterances"]["used"]
    return (
        f"{found['model']} of {told['trained_on']}, tested on {found['corpus']}: "
        f"{count} utterances"
    )


def left_out(found: dict[str, Any]) -> list[str]:
    """A sentence on each kind of what is not tested."""
    told, sentences = found["evaluation"], []
    if names := told["left_out_classes"]:
        sentences.append(
            f"Classes of the model that {found['corpus']} does not have: "
            f"{', '.join(names)}. Probabilities are among the others; with all of its "
            f"classes, the model would take {told['taken_for_left_out']:.1f} % of the "
            "utterances for one of these."
        )
    if words := told["left_out_words"]:
        listed = ", ".join(f"{word} ({count})" for word, count in words.items())
        sentences.append(f"Emotions of {found['corpus']} that are no class: {listed}.")
    if count := told["left_out_trained"]:
        sentences.append(f"{count} recordings of the training are left out.")
    return sentences


def table(found: dict[str, Any]) -> str:
    """The measures of the models and of their mean, as Markdown."""
    summary, told = found["summary"]["selected"], found["evaluation"]
    count = summary["wa"]["n"]
    each, together = {"": f"{count} models"}, {"": "mean of their probabilities"}
    if count == 1:
        each = {"": "1 model"}
    for measure in metrics.NAMES:
        of_measure, name = summary[measure], metrics.TITLES[measure]
        each[name] = tables.mean_sd(of_measure)
        if of_measure["ci95"] is not None:
            each[name] += f" (± {of_measure['ci95']:.2f})"
        together[name] = f"{told['ensemble'][measure]:.2f}"
    return markup.markdown([each, together] if count > 1 else [each])


def _models(found: dict[str, Any]) -> list[markup.Line]:
    return [
        {
            "run": str(run["run"]),
            "seed": str(run["seed"]),
            "held out in its training": run["fold"] or "-",
            "epoch": str(run["last"]["epoch"] or "-"),
            "WA": f"{run['last']['wa']:.2f}",
            "UA": f"{run['last']['ua']:.2f}",
        }
        for run in found["runs"]
    ]


def _origin(found: dict[str, Any]) -> list[tuple[str, str]]:
    made, told, seen = found["provenance"], found["evaluation"], found["features"]
    return [
        ("model", told["model"]),
        ("weights", ", ".join(digest[:16] for digest in told["weights"])),
        ("data", results.subject(found)),
        ("data digest", made["data_digest"]),
        (
            "features",
            f"{seen['kind']} {seen['shape'][0]} x {seen['shape'][1]} of segments of "
            f"{seen['segment']} samples, every {seen['hop']}, {seen['pad_mode']}",
        ),
        ("versions", ", ".join(f"{k} {v}" for k, v in made["versions"].items())),
        ("devices", made["devices"]),
        ("commit", made["commit"] or "not a checkout"),
        ("command", made["command"]),
        ("time (UTC)", f"{made['started']} to {made['ended']}"),
    ]
