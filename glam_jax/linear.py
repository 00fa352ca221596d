"""The floor: a linear classifier of openSMILE's functionals, on a training's splits.

A network that does not beat it on unheard speakers has learnt nothing of its own.
"""

import pathlib

import ml_collections
import numpy as np

from glam_jax import (
    input_pipeline,
    metrics,
    provenance,
    recognizer,
    report,
    results,
    runs,
    splits,
    train,
    values,
    workdir,
)

PENALTIES = tuple(10.0**k for k in range(-6, 1))  # C, of which one is chosen
FOLDS = 5  # of speakers in the training fold, by which it is chosen


def train_and_evaluate(
    config: ml_collections.ConfigDict,
    folder: pathlib.Path,
    penalty: float | None = None,
) -> dict:
    """Fits the classifier on each split of a config, or on those left, and reports.

    Args:
      config: A config from `prepared.of_functionals`; corpus, classes, protocol, runs
        and splits count.
      folder: The folder of the results.
      penalty: C of the support vector machine; None chooses it for each split, on
        groups of speakers in the training fold.

    Returns:
      What report.json holds.

    Raises:
      ValueError: When the config, the data set or the folder do not fit.
    """
    values.check(config)
    if penalty is not None:  # a part of the recipe that config.json holds
        config = config.copy_and_resolve_references()
        with config.unlocked():
            config["C"] = penalty
    dataset = input_pipeline.load(config)
    all_runs = runs.plan(config, dataset)
    with train.held(folder):
        outputs, origin, splits_used = train.open_folder(
            config, dataset, all_runs, folder
        )
        if done := train.complete(folder):
            return done
        outputs.describe(config, dataset, origin)
        finished = outputs.finished()
        outputs.predictions.keep(finished)
        x = dataset.features.read_all()[:, :, 0].astype(np.float64)
        for run in all_runs:
            if run.number not in finished:
                evaluate(x, dataset, run, outputs, penalty)
        outputs.end(provenance.now())
        report.write(folder, splits_used, recipe(config, penalty))
    return results.read_json(folder / results.REPORT)


def recipe(
    config: ml_collections.ConfigDict, penalty: float | None
) -> dict[str, str | int]:
    """What report.json and report.md tell of how the classifier is fitted."""
    chosen = "of " + ", ".join(f"{c:g}" for c in PENALTIES)
    chosen += f" by UA on {FOLDS} groups of speakers in the training fold"
    return {
        "features": config.features,
        "segment": config.segment,
        "hop": config.hop,
        "test_hop": config.test_hop,
        "pad_mode": config.pad_mode,
        "scaler": "mean and deviation of the training fold",
        "classifier": "linear support vector machines, one against the rest",
        "class_weight": "balanced",
        "C": chosen if penalty is None else f"{penalty:g}",
        "dtype": "float64",
    } | ({"normalise": "speaker"} if config.normalise == "speaker" else {})


def evaluate(
    x: np.ndarray,
    dataset: input_pipeline.Dataset,
    run: runs.Run,
    outputs: workdir.Workdir,
    penalty: float | None,
) -> None:
    """Fits the classifier of a run, and keeps what it says of the test utterances.

    Args:
      x: (utterances, functionals).
      dataset: The utterances.
      run: The run.
      outputs: The files of the results.
      penalty: C, None to choose it.
    """
    from sklearn import metrics as sklearn_metrics  # importing it takes a second

    train_set = run.split.train
    y, groups = dataset.labels[train_set], _groups(dataset.groups.speaker[train_set])
    if len(np.unique(y)) < 2:
        raise splits.Impossible(
            f"run {run.number}{f' ({run.fold})' if run.fold else ''} trains on the "
            f"class {dataset.class_names[y[0]]} alone"
        )
    if penalty is None:
        penalty = choose(x[train_set], y, groups)
    fitted = fit(x[train_set], y, penalty)
    margins = fitted.decision_function(x[train_set])
    loss = sklearn_metrics.hinge_loss(y, margins, labels=fitted.classes_)
    _keep(x, dataset, run, outputs, fitted, {"C": penalty, "loss": float(loss)})


def _keep(
    x: np.ndarray,
    dataset: input_pipeline.Dataset,
    run: runs.Run,
    outputs: workdir.Workdir,
    fitted,
    of_training: dict[str, float],
) -> None:
    """Writes what a fitted classifier is, and what it says of the test utterances."""
    test = run.split.test
    logits = np.full((len(x), len(dataset.class_names)), -np.inf)
    logits[:, fitted.classes_] = _margins(fitted, x)
    row = {
        "run": run.number,
        "seed": run.seed,
        "fold": run.fold,
        "epoch": 1,
        "train_utterances": len(run.split.train),
        **of_training,
    }
    held_out = {"": test, "validation_": run.split.validation}
    for prefix, utterances in held_out.items():
        if len(utterances):
            measured = train.measure(dataset, logits, utterances)
            row |= {f"{prefix}{name}": value for name, value in measured.items()}
    outputs.metrics.forget_after(run.number, 0)
    outputs.metrics.add(row)
    print(
        f"run {run.number + 1}{f' ({run.fold})' if run.fold else ''}: C {row['C']:g}, "
        f"test WA {row['wa']:.2f} UA {row['ua']:.2f}",
        flush=True,
    )
    outputs.predictions.add(
        run.number,
        dataset.ids[test],
        dataset.labels[test],
        recognizer.softmax(logits[test]).astype(np.float32),
    )
    scaler, machine = fitted[0], fitted[-1]
    outputs.keep_linear(
        run,
        {
            "classes": fitted.classes_,
            "mean": scaler.mean_,
            "scale": scaler.scale_,
            "coefficients": machine.coef_,
            "intercepts": machine.intercept_,
        },
    )


def choose(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """The C with the best UA on groups of speakers, each held out once.

    Args:
      x: (utterances, functionals) of a training fold.
      y: (utterances,) labels.
      groups: (utterances,) the speaker of each.

    Returns:
      The smallest of the best ones; where there is one speaker, or speakers have one
      class each, utterances are held out by themselves.
    """
    from sklearn import model_selection

    def usable(dealt):
        return [(inner, out) for inner, out in dealt if len(np.unique(y[inner])) > 1]

    folds, count = [], min(FOLDS, len(np.unique(groups)))
    if count > 1:
        folds = usable(model_selection.GroupKFold(count).split(x, y, groups))
    if not folds:
        count = min(FOLDS, int(np.bincount(y).max()))
        folds = usable(model_selection.StratifiedKFold(count).split(x, y))
    scores = []
    for penalty in PENALTIES:
        of_folds = []
        for inner, held_out in folds:
            fitted = fit(x[inner], y[inner], penalty)
            predictions = np.asarray(fitted.predict(x[held_out]))
            matrix = metrics.confusion_matrix(
                y[held_out], predictions, int(y.max()) + 1
            )
            of_folds.append(metrics.from_confusion(matrix)["ua"])
        scores.append(np.mean(of_folds))
    return PENALTIES[int(np.argmax(scores))]


def fit(x: np.ndarray, y: np.ndarray, penalty: float):
    """Standardises, and fits a linear support vector machine.

    Args:
      x: (utterances, functionals).
      y: (utterances,) labels.
      penalty: C.
    """
    from sklearn import pipeline, preprocessing, svm

    machine = svm.LinearSVC(
        C=penalty, class_weight="balanced", dual=True, max_iter=20_000, random_state=0
    )
    return pipeline.make_pipeline(preprocessing.StandardScaler(), machine).fit(x, y)


def _margins(fitted, x: np.ndarray) -> np.ndarray:
    """(utterances, classes) distances from the planes; two classes share one."""
    margins = fitted.decision_function(x)
    return np.stack([-margins, margins], axis=1) if margins.ndim == 1 else margins


def _groups(speakers: np.ndarray) -> np.ndarray:
    """(utterances,) numbers: who is not named is a speaker of their own."""
    named = np.unique(speakers, return_inverse=True)[1]
    unnamed = speakers == ""
    return np.where(unnamed, -1 - np.cumsum(unnamed), named)
