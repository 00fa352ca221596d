"""What several test files share: small data sets, golden cases, comparisons."""

import functools
import json
import pathlib
import zlib

import jax
import numpy as np
import orbax.checkpoint as ocp

from data_prep import preparation, records
from glam_jax import checkpoint, parallel, splits, steps, torch_weights

ROOT = pathlib.Path(__file__).parents[1]
DATA = pathlib.Path(__file__).parent / "data"


def prepare(corpus, name, data_dir, length=8000, hop=8000, features="mfcc"):
    """Writes the records of a corpus, by default in segments of half a second."""
    data_set = records.DataSet(name, features, segment=length, hop=hop)
    usable = [preparation.check(utterance) for utterance in corpus.utterances]
    preparation.write(data_set, pathlib.Path(data_dir), usable, source=name)


def shorten(config, data_dir):
    """Points a config at data made by `prepare` and makes it train for seconds."""
    config.data_dir = str(data_dir)
    config.segment = config.hop = config.test_hop = 8000
    config.batch_size = 16
    config.num_runs = 1
    config.num_epochs = 2
    config.checkpoint_every = 1
    return config


def fill(name: str, shape: tuple[int, ...], salt: int = 0) -> np.ndarray:
    """Returns the float32 array of `shape` for the tensor called `name`."""
    rng = np.random.RandomState(zlib.crc32(f"{salt}/{name}".encode()) & 0x7FFFFFFF)
    leaf = name.rsplit(".", 1)[-1]
    noise = rng.standard_normal(shape)
    if leaf == "running_var":
        value = 1.0 + 0.2 * np.abs(noise)
    elif leaf == "running_mean":
        value = 0.1 * noise
    elif leaf == "weight" and len(shape) == 1:  # norm scales
        value = 1.0 + 0.1 * noise
    elif len(shape) >= 2:  # kernels: He scale, so that activations keep their size
        value = noise * np.sqrt(2.0 / np.prod(shape[1:]))
    else:  # biases
        value = 0.05 * noise
    return value.astype(np.float32)


def reference(name):
    """The golden case of a model and our variables with the same weights."""
    golden = np.load(DATA / f"{name}.npz")
    state_dict = {
        tensor: fill(tensor, tuple(map(int, shape.strip("(),").split(","))))
        for tensor, shape in zip(golden["names"], golden["shapes"], strict=True)
    }
    return golden, state_dict, torch_weights.from_state_dict(name, state_dict)


def assert_close_to_largest(ours, theirs, tolerance):
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def build(config, data, num_devices, function=steps.train_step, seed=0):
    """A function of (state, pairs, window), and a fresh state.

    The function trains one run whose batches so many devices share.
    """
    layout = parallel.Layout(
        tuple(jax.local_devices()[:num_devices]), parallel.AXIS, runs_per_device=1
    )
    setup = steps.create_setup(config, 4, parallel.AXIS)
    mapped = layout.map(
        functools.partial(function, setup), shared=(False, True, False, False)
    )
    shared = layout.share(data)

    def train(state, pairs, window):
        parts = np.split(np.asarray(pairs), num_devices, axis=-1)
        window = window.replace(start=np.int32(state.step))
        state = mapped(
            layout.put_runs([state]),
            shared,
            layout.put(parts),
            layout.put_runs([window]),
        )
        for leaf in jax.tree.leaves(state):  # every device holds the same
            first, *others = [
                np.asarray(shard.data) for shard in leaf.addressable_shards
            ]
            for other in others:
                np.testing.assert_array_equal(other, first)
        return jax.tree.map(lambda leaf: leaf[0], layout.fetch(state))

    shape = data.features.shape[1:]
    return train, jax.jit(functools.partial(steps.create_state, setup, shape))(seed)


def mixed(batches, seed=0):
    """Pairs of (..., batch) segments with partners of the same batch."""
    batches = np.asarray(batches, np.int32)
    partners = np.random.default_rng(seed).permuted(batches, axis=-1)
    return np.stack([batches, partners], axis=-2)


def speech_like(count, shape=(26, 16), seed=0):
    """Random segments, one to an utterance, with four labels in turn."""
    random = np.random.default_rng(seed)
    return steps.Data(
        features=random.normal(size=(count, *shape)).astype(np.float32),
        utterance=np.arange(count, dtype=np.int32),
        labels=(np.arange(count) % 4).astype(np.int32),
    )


def window(
    stop=1,
    seed=0,
    steps_per_epoch=1000,
    class_weights=(1, 1, 1, 1),
    mixing_weights=(0.7, 0.2, 0.9, 0.6),
):
    return steps.Window(
        seed=np.int32(seed),
        class_weights=np.array(class_weights, np.float32),
        mixing_weights=np.asarray(mixing_weights, np.float32),
        epoch_start=np.int32(0),
        start=np.int32(0),
        stop=np.int32(stop),
        steps_per_epoch=np.int32(steps_per_epoch),
    )


def assert_trees_close(ours, theirs, tolerance):
    """Leaf by leaf, relative to the largest value of the tree's leaf or gradient."""
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(theirs))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


def last_params(folder, number):
    selection = splits.protocol("speaker").selection
    path = folder / "checkpoints" / f"run_{number:03d}"
    with checkpoint.manager(path, selection) as checkpoints:
        latest = checkpoints.latest_step()
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(checkpoint.weights_folder(path, latest))["params"]


def numbers(report):
    """A report without its provenance, which holds times."""
    return {key: value for key, value in report.items() if key != "provenance"}


def rows(folder):
    """metrics.jsonl without the speed, which is never the same."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) | {"segments_per_second": 0} for line in lines]


def write_own(path):
    """Writes a module with features and networks as a user would."""
    path.write_text(
        """
import flax.linen as nn
import numpy as np

def band_energies(wave):
    frames = wave[: len(wave) // 400 * 400].reshape(-1, 400)
    power = np.abs(np.fft.rfft(frames)[:, :200]) ** 2
    return np.log(power.reshape(len(frames), 20, 10).mean(axis=2) + 1e-6).T

class Recurrent(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train):
        x = nn.RNN(nn.GRUCell(8))(x.swapaxes(1, 2))
        return nn.Dense(self.num_classes)(x[:, -1])

class Normalised(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(x.mean(axis=2))
        return nn.Dense(self.num_classes)(x)

class Headless(nn.Module):
    num_classes: int

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(7)(x.mean(axis=2))
"""
    )
