"""Differences between trainings on the same test utterances, over runs and speakers."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from glam_jax import metrics, results, streams
from glam_jax.results import Training
from glam_jax.splits import leakage

MEASURES = ("wa", "ua")
RESAMPLES = 10_000


def what_differs(first: Training, second: Training) -> str:
    """Why two trainings cannot be compared, as a clause; '' when they can.

    They can when each run of one is tested on the same utterances as the run of the
    same number of the other, for the same classes, and both report an epoch chosen in
    the same way. Where one has more seeds of each fold, the same holds of the folds.
    """
    classes, others = first.report["classes"], second.report["classes"]
    if classes != others:
        return f"their classes are {', '.join(classes)} and {', '.join(others)}"
    ours, theirs = first.report["selection"], second.report["selection"]
    if ours != theirs:
        return f"their epochs are chosen differently: {ours} and {theirs}"
    paired = _paired(first, second)
    if not paired:
        counts = len(set(first.runs)), len(set(second.runs))
        if counts[0] != counts[1]:
            return f"one has {counts[0]} runs and the other {counts[1]}"
        return "their runs have different numbers"
    for name, (runs, theirs) in paired.items():
        tested, *others = [_tested(first, run) for run in runs] + [
            _tested(second, run) for run in theirs
        ]
        for there in others:
            if only := sorted(tested.keys() ^ there.keys()):
                return (
                    f"{name} is tested on {len(tested)} and {len(there)} utterances, "
                    f"of which {len(only)} are not in both, such as {only[0]}"
                )
            for utterance in sorted(tested):
                if tested[utterance] != there[utterance]:
                    return (
                        f"utterance {utterance} has another class or another recording"
                    )
    return ""


def _paired(first: Training, second: Training) -> dict[str, tuple[list, list]]:
    """The numbers of the runs of each that are paired, by what they have in common.

    It is the run's number, or the fold where one has more seeds of each; {} for none.
    """
    if set(first.runs) == set(second.runs):
        return {f"run {run}": ([run], [run]) for run in np.unique(first.runs)}
    ours, theirs = _folds(first), _folds(second)
    if ours.keys() != theirs.keys() or "" in ours:
        return {}
    return {f"fold {fold}": (ours[fold], theirs[fold]) for fold in ours}


def _folds(training: Training) -> dict[str, list[int]]:
    """The numbers of the runs of each fold."""
    found: dict[str, list[int]] = {}
    for run in training.report["runs"]:
        found.setdefault(run.get("fold", ""), []).append(run["run"])
    return found


def _tested(training: Training, run: int) -> dict[str, tuple[int, str]]:
    """The true class and the digest of each test utterance of a run, by its id."""
    of_run = training.runs == run
    return {
        utterance: (label, training.groups[utterance]["content"])
        for utterance, label in zip(
            training.utterances[of_run].tolist(),
            training.labels[of_run].tolist(),
            strict=True,
        )
    }


def couples(
    trainings: Sequence[Training], base: str = ""
) -> list[tuple[Training, Training]]:
    """Each two trainings, the earlier first; or that of a name with each other one."""
    if base:

        def is_base(training):
            return training.name == results.marked(base, training.report)

        first = filter(is_base, trainings)
        others = itertools.filterfalse(is_base, trainings)
        return list(itertools.product(first, others))
    return list(itertools.combinations(trainings, 2))


def pairs(trainings: Sequence[Training], base: str = "") -> list[dict[str, Any]]:
    """Compares trainings that can be compared, the later with the earlier.

    Args:
      trainings: The trainings.
      base: The name of the one that each other is compared with, so that the
        correction allows for no other tests; '' to compare each two.

    Returns:
      For each pair, over 'runs' and, where they were tested on speakers that they were
      not trained on, over 'speakers', for each epoch reported and each measure: the
      'mean' difference in points, the bounds 'low' and 'high' of its 95 % interval,
      'p', and 'p_holm', which allows for all the tests over runs, or over speakers;
      None for what cannot be told.
    """
    compared = []
    for first, second in couples(trainings, base):
        if what_differs(first, second):
            continue
        names = {"row": second.name, "against": first.name}
        compared += [names | line for line in over_runs(first, second)]
        if held_out_speakers([first, second]):
            compared += [names | line for line in over_speakers(first, second)]
    for over in ("runs", "speakers"):
        tests = [pair for pair in compared if pair["over"] == over]
        adjusted = metrics.holm([pair["p"] for pair in tests])
        for pair, p in zip(tests, adjusted, strict=True):
            pair["p_holm"] = p
    return compared


def epochs(report: dict[str, Any]) -> list[str]:
    """The epochs of a report that are compared: the one reported, and the last."""
    return ["last"] if report["selection"] == "last" else ["selected", "last"]


def over_runs(first: Training, second: Training) -> list[dict[str, Any]]:
    """Compares two trainings run by run, by the corrected resampled t-test.

    Where they have different numbers of seeds, a fold is a run: the mean of its seeds.
    """
    paired = _paired(first, second).values()
    ratio = max(metrics.test_train_ratio(t.report["runs"]) for t in (first, second))
    lines = []
    for epoch in epochs(first.report):
        for measure in MEASURES:
            theirs, ours = (
                {run["run"]: run[epoch][measure] for run in training.report["runs"]}
                for training in (first, second)
            )
            found = metrics.paired_difference(
                [np.mean([ours[run] for run in runs]) for _, runs in paired],
                [np.mean([theirs[run] for run in runs]) for runs, _ in paired],
                ratio,
            )
            mean, half = found["mean"], found["ci95"]
            low, high = (None, None) if half is None else (mean - half, mean + half)
            lines.append(
                {
                    "over": "runs",
                    "n": len(paired),
                    "epoch": epoch,
                    "measure": measure,
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "p": found["p"],
                }
            )
    return lines


def held_out_speakers(trainings: Sequence[Training]) -> bool:
    """Whether it is known that no speaker who was tested was trained on.

    Where one was, what a speaker tells is not independent of the training.
    """
    found = [leakage.heard(t.report["splits"]["both_sides"]) for t in trainings]
    return all(heard is False for heard in found)


def over_speakers(first: Training, second: Training) -> list[dict[str, Any]]:
    """Compares two trainings speaker by speaker, at the epoch that is reported."""
    ours, theirs = by_speaker(second), by_speaker(first)
    return [
        {
            "over": "speakers",
            "n": len(ours),
            "epoch": epochs(first.report)[0],
            "measure": measure,
            **speaker_difference(
                [ours[speaker][measure] for speaker in ours],
                [theirs[speaker][measure] for speaker in ours],
            ),
        }
        for measure in MEASURES
    ]


def by_speaker(training: Training) -> dict[str, dict[str, float]]:
    """The measures of each known speaker in percent, over all runs together."""
    speakers = np.array(
        [training.groups[utterance]["speaker"] for utterance in training.utterances]
    )
    predictions = training.probabilities.argmax(axis=1)
    classes = len(training.report["classes"])
    return {
        speaker: metrics.from_confusion(
            metrics.confusion_matrix(
                training.labels[speakers == speaker],
                predictions[speakers == speaker],
                classes,
            )
        )
        for speaker in sorted(set(speakers.tolist()) - {""})
    }


def speaker_difference(
    ours: Sequence[float], theirs: Sequence[float]
) -> dict[str, float | None]:
    """Compares two models by speakers who were not trained on.

    Args:
      ours: A measure of each speaker.
      theirs: The other model's measure of the same speaker.

    Returns:
      The 'mean' of ours - theirs, the bounds 'low' and 'high' of its 95 % interval (the
      percentiles of `RESAMPLES` bootstraps of speakers), and 'p' of the two-sided
      Wilcoxon signed-rank test; None for what a single speaker, or equal measures,
      cannot tell.
    """
    differences = np.round(np.subtract(ours, theirs), 9)  # rounding hides no tie
    found: dict[str, float | None]
    found = {"mean": float(differences.mean()), "low": None, "high": None, "p": None}
    n = len(differences)
    if n < 2:
        return found
    random = streams.stream(0, "bootstrap of speakers")
    means = differences[random.integers(n, size=(RESAMPLES, n))].mean(axis=1)
    found["low"], found["high"] = np.percentile(means, [2.5, 97.5]).tolist()
    if differences.any():
        from scipy import stats  # importing it takes a second

        found["p"] = float(stats.wilcoxon(differences).pvalue)
    return found
