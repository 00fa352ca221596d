"""Runs: splits in turn, upsampling, class weights, order."""

import dataclasses

import numpy as np
import pytest
from helpers import prepare

from data_prep.corpora import demo
from glam_jax import input_pipeline, runs

LABELS = np.array([0] * 10 + [1] * 4 + [2] * 3 + [1, 2])


def test_upsampling_gives_all_classes_as_many_utterances():
    copies = runs.upsample(LABELS, seed=0)
    np.testing.assert_array_equal(np.bincount(LABELS, copies), [10, 10, 10])
    assert set(copies[LABELS == 1]) == {2}  # 5 of them
    assert sorted(copies[LABELS == 2]) == [2, 2, 3, 3]
    np.testing.assert_array_equal(copies, runs.upsample(LABELS, seed=0))
    assert any((copies != runs.upsample(LABELS, seed)).any() for seed in range(1, 9))


def test_rare_classes_weigh_more_and_the_mean_weight_is_one():
    weights = runs.inverse_frequencies(LABELS, 4)
    np.testing.assert_allclose(weights[:3] * np.bincount(LABELS), len(LABELS) / 3)
    assert weights[3] == 0  # a class without utterances
    assert weights[LABELS].mean() == pytest.approx(1)


def test_upsampled_utterances_are_repeated_only_in_training(config):
    dataset = input_pipeline.load(config)
    (plain,) = runs.plan(config, dataset)
    config.upsampling = True
    (run,) = runs.plan(config, dataset)
    trained = np.unique(dataset.utterance[run.train_segments])
    np.testing.assert_array_equal(trained, plain.split.train)
    counts = np.bincount(run.train_segments)
    per_class = np.zeros(4)
    for utterance in trained:
        (repeats,) = set(counts[dataset.training_segments(np.array([utterance]))])
        per_class[dataset.labels[utterance]] += repeats
    assert len(set(per_class)) == 1
    np.testing.assert_array_equal(run.eval_segments, plain.eval_segments)
    config.class_weights = True  # nothing is rare any more
    (both,) = runs.plan(config, dataset)
    np.testing.assert_allclose(both.class_weights, 1)
    one_batch = dataclasses.replace(run, steps_per_epoch=1)
    epoch = runs.draw_epoch(one_batch, 0, len(run.train_segments), 0.5)
    np.testing.assert_array_equal(
        np.sort(epoch.pairs[0, 0]), np.sort(run.train_segments)
    )


@pytest.fixture
def run(config):
    return runs.plan(config, input_pipeline.load(config))[0]


def test_an_epoch_is_drawn_by_seed_and_number(run):
    epoch = runs.draw_epoch(run, 5, 16, 0.5)
    assert epoch.pairs.shape == (run.steps_per_epoch, 2, 16)
    again = runs.draw_epoch(run, 5, 16, 0.5)
    np.testing.assert_array_equal(epoch.pairs, again.pairs)
    np.testing.assert_array_equal(epoch.weights, again.weights)
    for other in (
        runs.draw_epoch(run, 6, 16, 0.5),
        runs.draw_epoch(dataclasses.replace(run, seed=1), 5, 16, 0.5),
    ):
        assert not np.array_equal(epoch.pairs[:, 0], other.pairs[:, 0])
        assert not np.array_equal(epoch.weights, other.weights)


def test_a_segment_is_mixed_with_one_of_its_batch(run):
    segments, partners = runs.draw_epoch(run, 0, 16, 0.5).pairs.swapaxes(0, 1)
    np.testing.assert_array_equal(np.sort(segments), np.sort(partners))
    assert not np.array_equal(segments, partners)
    assert len(np.unique(segments)) == segments.size  # none trains twice an epoch
    assert np.isin(segments, run.train_segments).all()


def test_mixing_weights_follow_the_beta_distribution(run):
    """One of Beta(1/2, 1/2) a batch: mean 1/2, variance 1/8."""
    epochs = [runs.draw_epoch(run, epoch, 16, 0.5).weights for epoch in range(200)]
    weights = np.concatenate(epochs)
    assert abs(weights.mean() - 0.5) < 0.03
    assert abs(weights.var() - 0.125) < 0.01


def test_without_mixup_an_example_is_itself(run):
    epoch = runs.draw_epoch(run, 0, 16, 0.0)
    np.testing.assert_array_equal(epoch.pairs[:, 0], epoch.pairs[:, 1])
    np.testing.assert_array_equal(epoch.weights, 1)


def test_classes_weigh_the_same_unless_asked(config):
    dataset = input_pipeline.load(config)
    (run,) = runs.plan(config, dataset)
    np.testing.assert_array_equal(run.class_weights, 1)
    config.class_weights = True
    (run,) = runs.plan(config, dataset)
    assert run.class_weights.max() > 1


def test_more_runs_than_folds_begin_again_with_other_seeds(config, capsys):
    config.protocol, config.num_runs = "session", 3
    all_runs = runs.plan(config, input_pipeline.load(config))
    assert [(run.fold, run.seed) for run in all_runs] == [
        ("Ses01", 0),
        ("Ses02", 1),
        ("Ses01", 2),
    ]
    assert runs.names(all_runs) == ["Ses01_seed0", "Ses02_seed1", "Ses01_seed2"]
    assert "should be a multiple of 2" in capsys.readouterr().out
    config.num_runs = 4
    runs.plan(config, input_pipeline.load(config))
    assert "warning" not in capsys.readouterr().out


def test_a_split_file_without_validation_cannot_choose_an_epoch(config, tmp_path):
    dataset = input_pipeline.load(config)
    text = runs.split_table(runs.plan(config, dataset), dataset)
    (tmp_path / "splits.csv").write_text(text)
    config.split_file = str(tmp_path / "splits.csv")
    config.protocol = "paper_811"
    with pytest.raises(ValueError, match="seed0 has no validation utterance"):
        runs.plan(config, dataset)


def test_another_test_hop_is_evaluated_but_not_trained(config, data_dir):
    prepare(demo.read(data_dir / "demo_corpus"), "demo", data_dir, hop=4000)
    (equal,) = runs.plan(config, input_pipeline.load(config))
    config.test_hop = 4000
    dataset = input_pipeline.load(config)
    (run,) = runs.plan(config, dataset)
    np.testing.assert_array_equal(run.train_segments, equal.train_segments)
    assert len(run.eval_segments) > 1.5 * len(equal.eval_segments)
    assert run.eval_segments.min() >= dataset.testing.start > run.train_segments.max()
