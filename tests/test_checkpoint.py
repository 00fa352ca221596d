"""Checkpoints: the latest and the best survive, also after opening them again."""

import errno

import jax
import numpy as np
import pytest

from glam_jax import checkpoint, steps


def state(step):
    return steps.TrainState(
        step=np.int32(step),
        params={"kernel": np.full((2, 3), step, np.float32)},
        batch_stats={"mean": np.zeros(2, np.float32)},
        opt_state=(np.float32(step), {"moment": np.ones(2, np.float32)}),
        averages={},
        loss_sum=np.float32(0.5),
    )


def save_epochs(folder, selection, scores, start=1):
    """Saves one checkpoint for each score, ten steps apart; opens them only once."""
    with checkpoint.manager(folder, selection) as manager:
        for epoch, score in enumerate(scores, start):
            row = {"epoch": epoch, "wa": score, "ua": score}
            checkpoint.save(manager, state(10 * epoch), row, {"metrics": "digest"})


def kept(folder, selection):
    with checkpoint.manager(folder, selection) as manager:
        return sorted(manager.all_steps())


def test_what_is_restored_is_what_was_saved(tmp_path):
    save_epochs(tmp_path, "test", [50])
    with checkpoint.manager(tmp_path, "test") as manager:
        restored, _ = checkpoint.restore(manager, state(0), manager.latest_step())
    jax.tree.map(np.testing.assert_array_equal, restored, state(10))


@pytest.mark.parametrize(
    ("selection", "expected"), [("test", [20, 40, 50]), ("last", [40, 50])]
)
def test_the_last_two_and_the_best_are_kept(tmp_path, selection, expected):
    """Epochs 2 and 4 are equally good: the first of them stays."""
    save_epochs(tmp_path, selection, [40, 70, 60, 70, 50])
    assert kept(tmp_path, selection) == expected


def test_the_best_is_still_known_after_an_interruption(tmp_path):
    save_epochs(tmp_path, "test", [40, 70])
    save_epochs(tmp_path, "test", [60, 50, 55], start=3)
    assert kept(tmp_path, "test") == [20, 40, 50]


def test_a_checkpoint_within_an_epoch_goes_when_the_next_comes(tmp_path):
    save_epochs(tmp_path, "test", [70])
    with checkpoint.manager(tmp_path, "test") as manager:
        checkpoint.save(manager, state(15), None, {"metrics": "digest"})
    assert kept(tmp_path, "test") == [10, 15]
    save_epochs(tmp_path, "test", [60, 65], start=2)
    assert kept(tmp_path, "test") == [10, 20, 30]


def damage(path, rng):
    """Flips a bit, cuts, empties or deletes a file."""
    content = bytearray(path.read_bytes())
    way = rng.integers(4)
    if way == 0 or not content:
        path.unlink()
    elif way == 1:
        path.write_bytes(content[: rng.integers(len(content))])
    else:
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_checkpoint_is_named_or_read_as_it_was_saved(tmp_path, seed, capsys):
    """Whatever file of the latest one is damaged, the earlier one is still there."""
    save_epochs(tmp_path, "test", [70, 50])
    rng = np.random.default_rng(seed)
    files = sorted(path for path in (tmp_path / "20").rglob("*") if path.is_file())
    damage(files[rng.integers(len(files))], rng)
    with checkpoint.manager(tmp_path, "test") as manager:
        restored, notes = checkpoint.restore_last(manager, state(0))
    assert notes == {"metrics": "digest"}
    if restored.step == 10:
        assert f"{tmp_path}/20 is damaged" in capsys.readouterr().out
    jax.tree.map(np.testing.assert_array_equal, restored, state(int(restored.step)))


@pytest.mark.parametrize("content", [b"", b'{"wa": 1.0}{"wa": 1.0}'])
def test_a_checkpoint_whose_metrics_cannot_be_read_is_named(tmp_path, capsys, content):
    """Orbax would not open the folder."""
    save_epochs(tmp_path, "test", [70, 50])
    path = tmp_path / "20" / "metrics" / "metrics"
    path.write_bytes(content)
    with checkpoint.manager(tmp_path, "test") as manager:
        restored, _ = checkpoint.restore_last(manager, state(0))
    assert restored.step == 10
    assert f"{path} is damaged" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ESTALE, "Stale file handle"),
        ValueError("UNAVAILABLE: [OS error 24: Too many open files]"),
        MemoryError(),
    ],
)
def test_a_checkpoint_that_cannot_be_read_now_is_kept(tmp_path, monkeypatch, error):
    save_epochs(tmp_path, "test", [70, 50])

    def restore(*arguments, **others):
        raise error

    with checkpoint.manager(tmp_path, "test") as manager:
        monkeypatch.setattr(manager, "restore", restore)
        with pytest.raises((OSError, MemoryError)):
            checkpoint.restore_last(manager, state(0))
    assert kept(tmp_path, "test") == [10, 20]


def test_without_a_whole_checkpoint_there_is_none(tmp_path):
    save_epochs(tmp_path, "test", [70])
    for path in (tmp_path / "10" / "weights").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with checkpoint.manager(tmp_path, "test") as manager:
        assert checkpoint.restore_last(manager, state(0)) is None
        assert manager.all_steps() == []
