"""Breaks trainings, data sets and sounds at random, and counts what comes of it.

  python tests/campaign.py --seed=0 --kills=30 --damages=100 --sounds=100

Each attempt ends in one of these; the last two must not occur:
  identical  the numbers are those of an undisturbed training or preparation
  named      an error or a warning names the file
  unnamed    an error that does not
  silent     other numbers, without a word
"""

import argparse
import collections
import contextlib
import functools
import io
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

_TESTS = pathlib.Path(__file__).parent
sys.path[:0] = [str(_TESTS.parent), str(_TESTS), str(_TESTS / "data_prep")]
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import random_sounds  # noqa: E402
import soundfile  # noqa: E402
from helpers import write_own  # noqa: E402
from small_corpora import noise  # noqa: E402

import glam_jax  # noqa: E402
from configs import emodb  # noqa: E402
from data_prep import preparation, records, signals  # noqa: E402
from glam_jax import input_pipeline, results, train  # noqa: E402

NAMES = [
    f"{s}{t}{e}a" for s in ("03", "08", "09") for t in ("a01", "b02") for e in "FNTW"
]
DATA_SET = records.DataSet(corpus="emodb", segment=8000, hop=4000)
RUN_FILES = ("predictions.csv", "splits.csv", "utterances.csv")


class Place:
    """A tiny corpus, prepared, with a finished and a begun training on it."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.source = folder / "emodb"
        (self.source / "wav").mkdir(parents=True)
        for seed, name in enumerate(NAMES):
            soundfile.write(self.source / f"wav/{name}.wav", noise(12000, seed), 16000)
        self.data_dir = folder / "data"
        jax.config.update("jax_compilation_cache_dir", str(folder / "jit"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_num_cpu_devices", 2)
        write_own(folder / "of_my_own.py")  # a network that compiles fast
        os.chdir(folder)  # where it is looked for
        self.config = emodb.get_config("")
        self.config.update(
            model="of_my_own:Normalised",
            data_dir=str(self.data_dir),
            segment=8000,
            hop=4000,
            test_hop=4000,
            batch_size=4,
            num_epochs=4,
            num_runs=2,
            checkpoint_every=1,
        )

    def prepare(self, data_dir: pathlib.Path, workers: int = 1) -> pathlib.Path:
        """Prepares the corpus, or compares it with what is there."""
        return preparation.prepare(DATA_SET, self.source, data_dir, workers=workers)[0]

    def train(self, workdir: pathlib.Path, data_dir: pathlib.Path | None = None):
        """Trains, or goes on with a training."""
        config = self.config.copy_and_resolve_references()
        config.data_dir = str(data_dir or self.data_dir)
        return train.train_and_evaluate(config, str(workdir))

    def begin(self, workdir: pathlib.Path) -> None:
        """Trains the first run and half of the second, as after a signal."""
        save, config = train.save_due, self.config
        self.config = config.copy_and_resolve_references()
        self.config.runs_per_group = 1

        def stop(program, members, state, rows, outputs, stopping):
            save(program, members, state, rows, outputs, stopping)
            if len(outputs.metrics.rows) == 6:
                raise signals.Preempted

        train.save_due = stop
        try:
            self.train(workdir)
        except signals.Preempted:
            pass
        finally:
            train.save_due, self.config = save, config


def numbers(workdir: pathlib.Path) -> list:
    """What a finished training says, without times and its origin."""
    report = results.read_json(workdir / "report.json")
    report.pop("provenance")
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = sorted(
        (json.loads(line) for line in lines), key=lambda r: (r["run"], r["epoch"])
    )
    for row in rows:
        row.pop("segments_per_second")
    files = [sorted((workdir / name).read_bytes().splitlines()) for name in RUN_FILES]
    return [report, rows, files]


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """All files below a folder, but locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".lock")
    }


def fork(work, seconds: float | None = None) -> bool:
    """Does something in a process of its own.

    Args:
      work: What to do.
      seconds: When to kill it; None to let it end.

    Returns:
      Whether it ended by itself, and well.
    """
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)
    deadline = time.monotonic() + (seconds or 1e9)
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def kills(place: Place, count: int, random: np.random.Generator) -> collections.Counter:
    """SIGKILLs from start to report, of trainings and, one in three, preparations."""
    outcomes: collections.Counter = collections.Counter()

    def campaign(work, look, expected, count, name):
        folder, attempt = place.folder / f"{name}_killed", 0
        shutil.rmtree(folder, ignore_errors=True)
        start = time.monotonic()
        fork(lambda: work(folder))
        duration = time.monotonic() - start
        shutil.rmtree(folder)
        while attempt < count:
            attempt += 1
            if not fork(lambda: work(folder), random.uniform(0, duration)):
                if attempt % 3:  # killed once more, or left to end
                    continue
                if not fork(lambda: work(folder)):
                    outcomes["unnamed"] += 1
                    continue
            outcomes["identical" if look(folder) == expected else "silent"] += 1
            shutil.rmtree(folder)
        outcomes[f"{name} killed"] += attempt

    campaign(
        lambda folder: place.prepare(folder, workers=2),
        contents,
        contents(place.data_dir),
        count // 3,
        "preparation",
    )
    campaign(
        place.train,
        numbers,
        numbers(place.folder / "finished"),
        count - count // 3,
        "training",
    )
    return outcomes


def damage(path: pathlib.Path, random: np.random.Generator) -> str:
    """Flips a bit, cuts, deletes or doubles a file."""
    kind = random.choice(["flip", "cut", "delete", "double"])
    content = bytearray(path.read_bytes())
    if kind == "delete":
        path.unlink()
    elif kind == "double":
        path.write_bytes(content * 2)
    elif kind == "cut" or not content:
        path.write_bytes(content[: random.integers(len(content) + 1)])
    else:
        content[random.integers(len(content))] ^= 1 << int(random.integers(8))
        path.write_bytes(content)
    return str(kind)


def outcome(path: pathlib.Path, look, expected) -> str:
    """What comes of looking at something of which a file is damaged.

    Args:
      path: The file.
      look: It gives what is to be as expected.
      expected: What an undamaged folder gives.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            found = look()
    except ValueError as error:
        print(error, file=printed)
        found = None
    except Exception as error:
        return f"unnamed ({type(error).__name__}: {error})"
    if expected == found:
        return "identical"
    said = printed.getvalue()
    # The weights of a checkpoint are many files; what counts is the checkpoint.
    inside = [part for part in path.parents if part.name.isdecimal()]
    names = [
        path.name,
        f"{path.parent} is damaged",
        *(f"{part.parent.name}/{part.name}" for part in inside),
    ]
    names.append("not prepared yet")  # dataset_info.json makes it so
    run = next((p.name for p in path.parents if p.name.startswith("run_")), None)
    if run:
        names.append(f"run {int(run[4:])}")
    if any(name in said for name in names):
        return "named"
    return f"unnamed ({said.strip()})" if found is None else f"silent ({said.strip()})"


def damages(
    place: Place, count: int, random: np.random.Generator
) -> collections.Counter:
    """Damages of each file that a workdir or a data set holds."""
    outcomes: collections.Counter = collections.Counter()
    wave = 0.1 * np.random.default_rng(0).uniform(-1, 1, 4000)

    def use(folder):
        place.train(folder)
        results.read(folder)
        answers = [glam_jax.load(folder, run).probabilities(wave) for run in (0, 1)]
        return [*numbers(folder), np.concatenate(answers).tolist()]

    def read(data_dir):
        dataset = input_pipeline.load(config)
        features = dataset.features.read_all().tobytes()
        for path in preparation.damaged_notes(place.prepare(data_dir)):
            raise ValueError(f"{path} is not what was written")
        return [features, dataset.ids.tolist(), dataset.labels.tolist()]

    kinds = {}
    for name, look in (("finished", use), ("begun", use), ("data", read)):
        kinds[name] = look
    config = place.config.copy_and_resolve_references()
    expected_of = {}
    for number in range(count):
        name = ("finished", "begun", "data")[number % 3]
        folder = place.folder / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(place.folder / name, folder)
        config.data_dir = str(folder)
        if name not in expected_of:
            with contextlib.redirect_stdout(io.StringIO()):
                expected_of[name] = kinds[name](folder)
            shutil.rmtree(folder)
            shutil.copytree(place.folder / name, folder)
        files = [
            p
            for p in sorted(folder.rglob("*"))
            if p.is_file() and ".lock" not in p.name
        ]
        path = files[random.integers(len(files))]
        kind = damage(path, random)
        look = functools.partial(kinds[name], folder)
        found = outcome(path, look, expected_of[name])
        outcomes[found.split()[0]] += 1
        where = path.relative_to(folder)
        if not found.startswith(("identical", "named")):
            print(f"damage {number}: {kind} of {name}/{where}: {found}", flush=True)
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (
        ("seed", 0),
        ("kills", 30),
        ("damages", 100),
        ("sounds", 100),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    return run(given.seed, given.kills, given.damages, given.sounds)


def run(seed: int, num_kills: int, num_damages: int, num_sounds: int) -> int:
    """Does it all and prints the counts; how often something went wrong unnoticed."""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Place(pathlib.Path(folder))
        parts = {"sounds": lambda r: random_sounds.try_all(place.folder, num_sounds, r)}
        if num_kills or num_damages:
            assert fork(lambda: place.prepare(place.data_dir))
            assert fork(lambda: place.train(place.folder / "finished"))
        # JAX must not be used in this process before others are forked.
        parts["kills"] = lambda r: kills(place, num_kills, r)
        parts["damages"] = lambda r: damages(place, num_damages, r)
        counts = {"sounds": num_sounds, "kills": num_kills, "damages": num_damages}
        for number, (name, part) in enumerate(parts.items()):
            if not counts[name]:
                continue
            if name == "damages":
                with contextlib.redirect_stdout(io.StringIO()):
                    place.begin(place.folder / "begun")
            start = time.monotonic()
            outcomes = part(np.random.default_rng((seed, number)))
            bad += outcomes["silent"] + outcomes["unnamed"]
            told = ", ".join(
                f"{value} {key}" for key, value in sorted(outcomes.items())
            )
            print(f"{name}: {told} ({time.monotonic() - start:.0f} s)", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(min(main(), 1))
