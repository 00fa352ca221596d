r"""Compares where trainings end: ours beside PyTorch's, many seeds on the same splits.

  python -m glam_jax.benchmark.outcomes --config=configs/emodb.py \
      --config.num_epochs=10 --splits=3 --seeds=12 --out=outcomes

PyTorch trains our version of GLAM as the paper's code does: by its own initial values,
order and mixup, and with the last, smaller batch of an epoch, which ours drops. Every
seed is trained on every split. Writes outcomes.md, outcomes.csv (all epochs of all
trainings) and splits.csv to OUT. What is trained is kept: the same command goes on.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import ml_collections
import numpy as np
import tabulate
from absl import app, flags
from scipy import special

from configs import base
from data_prep import paths, text
from glam_jax import command, metrics, prepared, results, values

FLAGS = flags.FLAGS
MEASURES = ("loss", "wa", "ua")
SIDES = ("ours", "pytorch")
# Fields of a recipe that PyTorch's side does not know.
_UNKNOWN = (
    "optimizer",
    "schedule",
    "warmup_epochs",
    "ema",
    "label_smoothing",
    "class_weights",
)
_UNKNOWN += ("upsampling", "dtype", "frontend", "normalise", "augment")
_COLUMNS = ("side", "split", "seed", "epoch", *MEASURES)


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    command.define_config()
    flags.DEFINE_integer("splits", 3, "Splits, of the protocol.", lower_bound=1)
    flags.DEFINE_integer("seeds", 12, "Trainings on each split.", lower_bound=2)
    flags.DEFINE_string("out", "outcomes", "Folder of the results.")


def train(config: ml_collections.ConfigDict, out: pathlib.Path) -> list[dict]:
    """Trains what is missing on both sides.

    Returns:
      A row for each epoch: 'side', 'split', 'seed', 'epoch', 'loss', 'wa' and 'ua'.
    """
    from glam_jax import input_pipeline, runs
    from glam_jax import train as train_lib

    dataset = input_pipeline.load(config)
    config = config.copy_and_resolve_references()
    config.num_runs = FLAGS.splits
    of_splits = runs.plan(config, dataset)
    split_file = out / "splits.csv"
    text.write_text(split_file, runs.split_table(of_splits, dataset))
    config.split_file, config.num_runs = str(split_file), FLAGS.splits * FLAGS.seeds
    train_lib.train_and_evaluate(config, str(out / "ours"))
    ours = results.read(out / "ours").epochs
    rows = [
        {"side": "ours", "split": row["run"] % FLAGS.splits, "seed": row["run"]}
        | {name: row[name] for name in ("epoch", *MEASURES)}
        for row in ours
    ]
    return [*rows, *_trained_by_pytorch(config, dataset, out / "pytorch")]


def _trained_by_pytorch(config, dataset, folder: pathlib.Path) -> Iterator[dict]:
    """The rows of all runs; a run that is not in the folder is trained."""
    from glam_jax import runs

    folder.mkdir(exist_ok=True)
    planned = runs.plan(config, dataset)
    features = dataset.features.read_all()
    for run in planned:
        path = folder / f"run_{run.number:03d}.csv"
        if not path.exists():
            found = [*_epochs(config, dataset, features, run)]
            text.write_text(path, text.csv_text(("epoch", *MEASURES), found))
            loss, wa, ua = found[-1][1:]
            print(
                f"PyTorch, run {run.number + 1} of {len(planned)}: loss {loss:.4f}  "
                f"WA {wa:5.2f}  UA {ua:5.2f}",
                flush=True,
            )
        for epoch, *measured in text.read_csv(path)[1]:
            yield {
                "side": "pytorch",
                "split": run.number % FLAGS.splits,
                "seed": run.number,
                "epoch": int(epoch),
            } | dict(zip(MEASURES, map(float, measured), strict=True))


def _epochs(config, dataset, features, run) -> Iterator[tuple]:
    """(epoch, loss, WA, UA) after each epoch of a training by PyTorch."""
    import torch

    from glam_jax import program
    from glam_jax.benchmark import torch_peer

    torch.manual_seed(run.seed)
    mixing = torch.distributions.Beta(config.mixup_alpha, config.mixup_alpha)
    model = torch_peer.GLAM(len(dataset.class_names), features.shape[1:])
    peer = torch_peer.Peer(model, config.learning_rate, config.weight_decay)
    decay = torch.optim.lr_scheduler.ExponentialLR(
        peer.optimizer, config.learning_rate_decay
    )
    labels = dataset.labels[dataset.utterance].astype(np.int64)
    tested = dataset.utterance[run.eval_segments]
    for epoch in range(1, config.num_epochs + 1):
        order = torch.from_numpy(run.train_segments)[
            torch.randperm(len(run.train_segments))
        ]
        batches = order.split(config.batch_size)
        pairs = [
            torch.stack([batch, batch[torch.randperm(len(batch))]]).numpy()
            for batch in batches
        ]
        weights = mixing.sample((len(batches),)).numpy()
        loss = peer.train(features, labels, pairs, weights).mean()
        decay.step()
        logits = peer.predict(features, run.eval_segments, program.CPU_EVAL_BATCH_SIZE)
        mean = np.stack(
            [logits[tested == utterance].mean(axis=0) for utterance in run.split.test]
        )
        matrix = metrics.confusion_matrix(
            dataset.labels[run.split.test], mean.argmax(axis=1), mean.shape[1]
        )
        measured = metrics.from_confusion(matrix)
        yield epoch, float(loss), measured["wa"], measured["ua"]


def difference(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """The mean difference of trainings on the same splits, and half its 95 % interval.

    Splits are strata: the difference on each is Welch's, and they weigh the same.

    Args:
      ours: A value of each training, by the split.
      theirs: The same of the other side.
    """
    means, parts = [], []
    for some, others in zip(ours, theirs, strict=True):
        means.append(np.mean(some) - np.mean(others))
        for side in (some, others):
            parts.append((np.var(side, ddof=1) / len(side), len(side) - 1))
    variances, freedoms = np.array(parts).T
    total = variances.sum()
    if total == 0:
        return float(np.mean(means)), 0.0
    freedom = total**2 / np.sum(variances**2 / freedoms)  # Welch & Satterthwaite
    error = np.sqrt(total) / len(means)
    return float(np.mean(means)), float(special.stdtrit(freedom, 0.975) * error)


def outcomes(rows: Sequence[Mapping]) -> dict[str, dict[tuple[str, int], list[float]]]:
    """What trainings ended with: for each measure its values by (side, split)."""
    runs: dict[tuple[str, int, int], list[Mapping]] = {}
    for row in sorted(rows, key=lambda row: row["epoch"]):
        runs.setdefault((row["side"], row["split"], row["seed"]), []).append(row)
    found: dict[str, dict[tuple[str, int], list[float]]] = {}
    for (side, split, _), epochs in runs.items():
        of_run = {
            f"{name}, {which} epoch": choose(row[measure] for row in epochs)
            for measure, name in (("wa", "WA"), ("ua", "UA"))
            for which, choose in (("last", _last), ("best", max))
        }
        of_run |= {f"loss, epoch {row['epoch']}": row["loss"] for row in epochs}
        for name, value in of_run.items():
            found.setdefault(name, {}).setdefault((side, split), []).append(value)
    return found


def _last(measured: Iterator[float]) -> float:
    *_, last = measured
    return last


def table(rows: Sequence[Mapping]) -> str:
    """The mean and deviation of each side, and their difference, in Markdown."""
    lines = []
    for name, by_split in outcomes(rows).items():
        splits = sorted({split for _, split in by_split})
        ours, theirs = ([by_split[side, split] for split in splits] for side in SIDES)
        mean, half = difference(ours, theirs)
        decimals = 4 if name.startswith("loss") else 2
        sides = [
            f"{np.mean(side):.{decimals}f} ± "
            f"{np.mean([np.std(of_split, ddof=1) for of_split in side]):.{decimals}f}"
            for side in (ours, theirs)
        ]
        lines.append(
            [
                name,
                *sides,
                f"{mean:+.{decimals}f} ({mean - half:+.{decimals}f} to "
                f"{mean + half:+.{decimals}f})",
            ]
        )
    header = ("", "ours", "PyTorch", "difference (95 % interval)")
    return tabulate.tabulate(lines, header, "github", disable_numparse=True)


def check(config: ml_collections.ConfigDict) -> None:
    """Raises ValueError for a config that PyTorch's side does not train by."""
    values.check(config)
    if config.model != "glam":
        raise ValueError(f"PyTorch has no {config.model} here, only glam")
    told, plain = config.to_dict(), base.get_config().to_dict()
    for field in _UNKNOWN:
        if told[field] != plain[field]:
            raise ValueError(
                f"PyTorch trains by GLAM's recipe here: leave --config.{field} out"
            )
    if not config.mixup_alpha:
        raise ValueError("PyTorch mixes here: --config.mixup_alpha must be above 0")


def _claim(out: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Keeps the config beside what it trained; ValueError for another config."""
    fields = json.loads(config.to_json_best_effort())
    fields |= {"seeds": FLAGS.seeds, "splits": FLAGS.splits}
    told = {key: fields[key] for key in fields.keys() - {*values.WITHOUT_EFFECT}}
    path = out / "config.json"
    if path.exists() or (out / "ours").exists():
        there = results.read_json(path)
        if other := [key for key in sorted(told) if there.get(key) != told[key]]:
            raise ValueError(
                f"{out} is of another config (other {', '.join(other)}): give another "
                "--out"
            )
    out.mkdir(parents=True, exist_ok=True)
    text.write_text(path, json.dumps(told, indent=2, sort_keys=True) + "\n")


def compare(config: ml_collections.ConfigDict) -> None:
    """Does what the flags say."""
    out = paths.local(FLAGS.out, "--out")
    check(config)
    if commands := prepared.missing(config):
        raise ValueError(prepared.not_prepared(commands, config.data_dir))
    command.set_up_jax()
    _claim(out, config)
    rows = train(config, out)
    cells = [[row[name] for name in _COLUMNS] for row in rows]
    text.write_text(out / "outcomes.csv", text.csv_text(_COLUMNS, cells))
    written = (
        f"GLAM on {config.corpus}, {config.num_epochs} epochs: mean ± sd over "
        f"{FLAGS.seeds} seeds on each of {FLAGS.splits} splits (protocol "
        f"{config.protocol}).\n\n{table(rows)}\n"
    )
    text.write_text(out / "outcomes.md", written)
    print(f"\n{written}\nAll files: {out}")


def main(argv: list[str]) -> None:
    command.run_by_flags(argv, lambda: compare(FLAGS.config))


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
