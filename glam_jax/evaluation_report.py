"""The report of a model that was tested on another corpus, in words and tables."""

from typing import Any

import numpy as np

from glam_jax import by_corpus, markup, metrics, report, results, tables
from glam_jax.splits import leakage


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
            f"(protocol {found['protocol']}){_apart(found)}."
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


def _apart(found: dict[str, Any]) -> str:
    """That nothing of the training is tested, where that is known."""
    return ", and none of what is tested here" if found["splits"]["both_sides"] else ""


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
        sentences.append(f"Left out, since they are in the training: {count}.")
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
