"""Times training and inference on this machine's devices, next to PyTorch.

Each case has a process of its own, so that its memory can be told. On a CPU the
processes stay while the cases are timed in turn (A B A B ...), since timings wander.
"""

import concurrent.futures
import dataclasses
import importlib.util
import multiprocessing
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import joblib
import ml_collections
import numpy as np

from glam_jax import input_pipeline, parallel, program, runs
from glam_jax.benchmark import compiled
from glam_jax.benchmark.rows import SHORT_NAMES, Row

WORK = ("train", "infer")
RUNS = (1, 2, 4, 8, 16)
DEVICES = (1, 2, 4)
COPIES = (1, 2, 4, 8, 10)
PRODUCT_SIZE = 2048


@dataclasses.dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
      name: A name such as `f32,runs=8`.
      config: A config; the first group of its runs is taken.
      steps: Steps of an epoch.
      copies: How often the data set's utterances are repeated.
      devices: Virtual devices of a CPU; None for as many as in a training.
      peer: '' for our program, or 'torch'.
    """

    name: str
    config: ml_collections.ConfigDict
    steps: int
    copies: int = 1
    devices: int | None = None
    peer: str = ""


def varied(config: ml_collections.ConfigDict, steps: int, name: str, **changes) -> Case:
    """A case of a config with other fields, or with other fields of the case."""
    config = config.copy_and_resolve_references()
    own = {key: changes.pop(key) for key in ("copies", "devices") if key in changes}
    config.update(changes)
    return Case(f"{SHORT_NAMES[config.dtype]},{name}", config, steps, **own)


def over_runs(config: ml_collections.ConfigDict, steps: int) -> list[Case]:
    """Runs at once on all devices."""
    return [
        varied(config, steps, f"runs={count}", num_runs=count, runs_per_group=count)
        for count in RUNS
    ]


def over_devices(config: ml_collections.ConfigDict, steps: int) -> list[Case]:
    """One run whose batches virtual devices of a CPU share."""
    return [
        varied(config, steps, f"devices={n}", num_runs=1, parallel="data", devices=n)
        for n in DEVICES
    ]


def over_segments(config: ml_collections.ConfigDict, steps: int) -> list[Case]:
    """Ever larger data sets, of which whole epochs are trained in the same time."""
    return [
        varied(
            config,
            steps,
            f"segments={copies}x,{mode}",
            num_runs=1,
            input=mode,
            copies=copies,
        )
        for mode in ("resident", "stream")
        for copies in COPIES
    ]


def repeated(dataset: input_pipeline.Dataset, copies: int) -> input_pipeline.Dataset:
    """A data set of one hop with each utterance several times, from the same records.

    The copies do not count as identical recordings.
    """
    groups = dataclasses.asdict(dataset.groups) | {"content": [""] * len(dataset.ids)}
    groups = {name: np.tile(group, copies) for name, group in groups.items()}
    owner = dataset.utterance + len(dataset.ids) * np.arange(copies)[:, None]
    everything = slice(0, owner.size)
    return input_pipeline.Dataset(
        features=dataset.features.repeated(copies),
        utterance=owner.ravel().astype(np.int32),
        training=everything,
        testing=everything,
        labels=np.tile(dataset.labels, copies),
        ids=np.tile(dataset.ids, copies),
        groups=type(dataset.groups)(**groups),
        class_names=dataset.class_names,
    )


def load(case: Case) -> tuple[input_pipeline.Dataset, list[runs.Run]]:
    """The data set of a case and its runs, cut to the case's steps."""
    dataset = input_pipeline.load(case.config)
    if case.copies > 1:
        dataset = repeated(dataset, case.copies)
    size = case.steps * case.config.batch_size
    return dataset, [
        dataclasses.replace(
            run,
            steps_per_epoch=min(case.steps, run.steps_per_epoch),
            eval_segments=run.eval_segments[:size],
        )
        for run in runs.plan(case.config, dataset)
    ]


class Ours:
    """A group of runs in our program; what it does is counted in segments."""

    def __init__(self, case: Case):
        dataset, group = load(case)
        self._program = program.create(case.config, dataset, group)
        self._group = group[: self._program.layout.group_size]
        states = [self._program.init(run.seed) for run in self._group]
        self._state = self._program.layout.put_runs(states)
        self._pace = program.Pace()

    def train(self, epoch: int) -> int:
        self._state, _ = program.train_epoch(
            self._program, self._state, self._group, epoch, lambda: False, self._pace
        )
        batch_size = self._program.config.batch_size
        return sum(run.steps_per_epoch * batch_size for run in self._group)

    def infer(self, epoch: int) -> int:
        del epoch
        program.mean_logits(self._program, self._state, self._group)
        return sum(len(run.eval_segments) for run in self._group)


class Torch:
    """The same by PyTorch: the same batches, mixing weights and partners."""

    def __init__(self, case: Case):
        from glam_jax.benchmark import torch_peer

        self._config = config = case.config
        dataset, (self._run, *_) = load(case)
        self._features = dataset.features.read_all()
        self._labels = dataset.labels[dataset.utterance].astype(np.int64)
        model = torch_peer.GLAM(len(dataset.class_names), dataset.features.shape[1:])
        self._peer = torch_peer.Peer(model, config.learning_rate, config.weight_decay)

    def train(self, epoch: int) -> int:
        run, config = self._run, self._config
        drawn = runs.draw_epoch(run, epoch, config.batch_size, config.mixup_alpha)
        self._peer.train(self._features, self._labels, drawn.pairs, drawn.weights)
        return drawn.pairs[:, 0].size

    def infer(self, epoch: int) -> int:
        del epoch
        segments = self._run.eval_segments
        batch_size = jax.local_device_count() * program.CPU_EVAL_BATCH_SIZE  # as ours
        self._peer.predict(self._features, segments, batch_size)
        return len(segments)


class Process:
    """A process of its own, in which one case may be timed."""

    def __init__(self):
        self._pool = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn")
        )

    def call(self, function: Callable, *arguments):
        """Calls a function of a module in the process."""
        return self._pool.submit(function, *arguments).result()

    def end(self) -> None:
        """Ends the process."""
        self._pool.shutdown()


def apart(function: Callable, *arguments):
    """Calls a function of a module in a process that ends with it."""
    process = Process()
    try:
        return process.call(function, *arguments)
    finally:
        process.end()


_subject: Ours | Torch | None = None  # of the process of a case


def _begin(case: Case) -> float:
    global _subject
    parallel.use_compilation_cache()
    start = time.perf_counter()
    parallel.use_cpu_cores(case.devices)
    _subject = {"": Ours, "torch": Torch}[case.peer](case)
    return time.perf_counter() - start


def _speed(work: str, number: int) -> float:
    start = time.perf_counter()
    segments = getattr(_subject, work)(number)
    return segments / (time.perf_counter() - start)


def _peak_memory() -> float:
    device = jax.local_devices()[0].memory_stats() or {}
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return device.get("peak_bytes_in_use", host) / 1e6


def is_cpu() -> bool:
    """Whether JAX has no accelerator; asked apart, so that none is taken."""
    return apart(jax.default_backend) == "cpu"


def timed(cases: Sequence[Case], repeats: int) -> Iterator[Row]:
    """Speeds, start and peak memory of cases, after a round to warm up.

    Programs are compiled before, in other processes, and then found in the cache.
    A peer's case follows ours; `train_ratio` and `infer_ratio` are our speed by its.
    """
    in_turn = is_cpu()  # other devices hold one process at a time
    for together in [cases] if in_turn else [[case] for case in cases]:
        for case in together:  # compiling takes more memory than training
            apart(_begin, case)
        processes = [Process() for _ in together]
        starts = [
            process.call(_begin, case)
            for process, case in zip(processes, together, strict=True)
        ]
        speeds = {
            work: np.array(
                [
                    [process.call(_speed, work, number) for process in processes]
                    for number in range(repeats + 1)
                ]
            )[1:]
            for work in WORK
        }
        for k, (process, case) in enumerate(zip(processes, together, strict=True)):
            figures: list[tuple[str, Sequence[float] | np.ndarray, str]] = [
                (f"{work}_segments_per_second", speeds[work][:, k], "segments/s")
                for work in WORK
            ]
            if case.peer:
                figures += [
                    (f"{work}_ratio", speeds[work][:, k - 1] / speeds[work][:, k], "x")
                    for work in WORK
                ]
            figures.append(("start_seconds", [starts[k]], "s"))
            figures.append(("peak_memory_mb", [process.call(_peak_memory)], "MB"))
            process.end()
            for metric, values, unit in figures:
                values = tuple(map(float, values))
                model = case.config.model
                yield Row("local", model, case.name, metric, values, unit)


def compared(
    config: ml_collections.ConfigDict, steps: int, repeats: int, peer: str
) -> Iterator[Row]:
    """One run of ours and of a peer, in turn.

    Raises:
      ValueError: Off the CPU, for another model than glam, or without the peer.
    """
    if not is_cpu() or config.model != "glam":
        raise ValueError(f"--peer={peer} compares glam on the CPU (JAX_PLATFORMS=cpu)")
    if importlib.util.find_spec(peer) is None:
        raise ValueError(f"--peer={peer} needs PyTorch: pip install -e .[bench]")
    ours = varied(config, steps, "runs=1", num_runs=1)
    theirs = dataclasses.replace(ours, name=f"{ours.name},{peer}", peer=peer)
    yield from timed([ours, theirs], repeats)


def speed(config: ml_collections.ConfigDict, steps: int, repeats: int) -> Iterator[Row]:
    """One run, and how near its training comes to the rate of large matrix products."""
    rows = list(timed([varied(config, steps, "runs=1", num_runs=1)], repeats))
    yield from rows
    flops = apart(_flops_per_step, config)
    rates = apart(_product_rates, config.dtype, repeats)
    trained = np.median(rows[0].values) / config.batch_size * flops
    for metric, values, unit in (
        ("flops_per_run_step", (flops,), "FLOP"),
        ("product_gflops", tuple(rate / 1e9 for rate in rates), "GFLOP/s"),
        ("train_product_fraction", (trained / float(np.median(rates)),), ""),
    ):
        yield dataclasses.replace(rows[0], metric=metric, values=values, unit=unit)


def _flops_per_step(config: ml_collections.ConfigDict) -> float:
    shape = input_pipeline.load(config).features.shape[1:]
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:1]), (parallel.AXIS,))
    step, arguments = compiled.mapped_step(config, mesh, None, 1, "cpu", shape)
    cost = step.lower(*arguments).cost_analysis()
    assert cost  # the compiler of any device gives it
    return cost["flops"]


def _product_rates(dtype: str, repeats: int) -> tuple[float, ...]:
    parallel.use_cpu_cores(1)  # of which all threads share a product
    x = jnp.ones((PRODUCT_SIZE, PRODUCT_SIZE), dtype)
    multiply = jax.jit(jnp.matmul)
    multiply(x, x).block_until_ready()
    rates = []
    for _ in range(repeats):
        start = time.perf_counter()
        multiply(x, x).block_until_ready()
        rates.append(2 * PRODUCT_SIZE**3 / (time.perf_counter() - start))
    return tuple(rates)


def preparation(repeats: int) -> Iterator[Row]:
    """Prepares the demo corpus by its command, with one worker and all in turn."""
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        command = [sys.executable, "-m", "data_prep.build", "--corpus=demo"]
        command += [f"--source={folder}/corpus", f"--data_dir={data}"]
        workers = sorted({1, joblib.cpu_count()})
        found: dict[int, list] = {count: [] for count in workers}
        apart(_run, command)  # makes the corpus
        for _ in range(repeats):
            for count in workers:
                shutil.rmtree(data)
                found[count].append(apart(_run, [*command, f"--workers={count}"]))
    for count, results in found.items():
        for k, (metric, unit) in enumerate(
            (("prepare_ms_per_segment", "ms"), ("peak_memory_mb", "MB"))
        ):
            values = tuple(result[k] for result in results)
            yield Row("local", "", f"mfcc,workers={count}", metric, values, unit)


def _run(command: list[str]) -> tuple[float, float]:
    """Milliseconds for a segment, from start to end, and MB of the largest process."""
    start = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    milliseconds = 1e3 * (time.perf_counter() - start)
    totals = re.findall(r"^\w+ +all +\d+ +(\d+) +(\d+)", ended.stdout, re.MULTILINE)
    segments = sum(int(count) for total in totals for count in total)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    return milliseconds / segments, peak
