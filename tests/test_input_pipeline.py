"""The contract with data_prep: records written by the real builder become arrays."""

import dataclasses
import re

import numpy as np
import pytest
from helpers import prepare

from data_prep import audio, features
from data_prep.corpora import demo
from glam_jax import input_pipeline


def test_paper_protocol_reads_four_emotions_without_short_utterances(config, data_dir):
    dataset = input_pipeline.load(config)
    expected = [
        utterance
        for utterance in demo.read(data_dir / "demo_corpus").utterances
        if utterance.emotion in ("neu", "sad", "ang", "exc")
    ]
    waves = {u.id: audio.read(u.path).wave for u in expected}
    expected = [u for u in expected if len(waves[u.id]) >= 8000]
    assert dataset.class_names == ("neutral", "sad", "angry", "excited")
    assert list(dataset.ids) == [u.id for u in expected]  # sorted over both TFDS splits
    words = ["neu", "sad", "ang", "exc"]
    assert [words[label] for label in dataset.labels] == [u.emotion for u in expected]
    assert list(dataset.groups.speaker) == [u.speaker for u in expected]
    assert list(dataset.groups.session) == [u.session for u in expected]
    assert list(dataset.groups.dialogue) == [u.dialogue for u in expected]
    last = expected[-1]
    segments = features.segment(waves[last.id], 8000, 8000)
    of_last = dataset.training_segments(np.array([len(expected) - 1]))
    np.testing.assert_array_equal(
        dataset.features[of_last], features.extract("mfcc", segments)
    )


def test_speaker_independent_protocols_merge_happy_and_excited(config):
    config.protocol = "session"
    dataset = input_pipeline.load(config)
    assert dataset.class_names == ("neutral", "sad", "angry", "happy")
    # 2 x 4 dialogues with 3 excited and 2 happy turns each, none left out as short.
    np.testing.assert_array_equal(np.bincount(dataset.labels), [24, 24, 24, 40])


def test_subset_of_the_tfds_splits(config):
    config.tfds_splits = ("script",)
    dataset = input_pipeline.load(config)
    assert all("script" in utterance for utterance in dataset.ids)


def test_short_utterances_are_kept_only_by_speaker_independent_protocols(
    config, tmp_path
):
    """Segments of 40,000 samples: most turns of the demo corpus are shorter."""
    corpus = demo.read(config.data_dir + "/demo_corpus")
    prepare(corpus, "demo", tmp_path, length=40000)
    config.data_dir, config.segment = str(tmp_path), 40000
    config.protocol = "paper"
    assert len(input_pipeline.load(config).labels) < 96
    config.protocol = "speaker"
    assert len(input_pipeline.load(config).labels) == 112


def test_missing_data_set_shows_the_command_that_prepares_it(config):
    config.pad_mode = "constant"
    expected = (
        "python -m data_prep.build --corpus=demo "
        f"--data_dir={config.data_dir} --features=mfcc --segment=8000 --hop=8000 "
        "--pad_mode=constant"
    )
    with pytest.raises(ValueError, match=re.escape(expected)) as error:
        input_pipeline.load(config)
    assert "--config=configs/demo.py" in str(error.value)


def test_missing_split_is_refused_with_those_that_are_there(config):
    config.tfds_splits = ("train",)
    with pytest.raises(ValueError, match=r"no split train.*impro, script"):
        input_pipeline.load(config)


def test_a_class_without_utterances_is_refused(config):
    config.classes = "neutral=neu bored=bor"
    with pytest.raises(ValueError, match="no utterance of class bored"):
        input_pipeline.load(config)


def test_another_test_hop_adds_segments_that_only_test(config, tmp_path):
    corpus = demo.read(config.data_dir + "/demo_corpus")
    config.data_dir = str(tmp_path)
    prepare(corpus, "demo", tmp_path)
    equal = input_pipeline.load(config)
    np.testing.assert_array_equal(
        equal.training_segments(np.array([3])), equal.testing_segments(np.array([3]))
    )
    config.test_hop = 4000
    with pytest.raises(ValueError, match="--hop=4000"):
        input_pipeline.load(config)
    prepare(corpus, "demo", tmp_path, hop=4000)
    dataset = input_pipeline.load(config)
    for utterance in (0, 5, 95):
        chosen = np.array([utterance])
        np.testing.assert_array_equal(
            dataset.features[dataset.training_segments(chosen)],
            equal.features[equal.training_segments(chosen)],
        )
        tested = dataset.features[dataset.testing_segments(chosen)]
        # Every second start is one of the training hop's.
        np.testing.assert_array_equal(
            tested[::2], equal.features[equal.training_segments(chosen)]
        )
        assert set(dataset.utterance[dataset.testing_segments(chosen)]) == {utterance}


@pytest.mark.parametrize("change", ["fewer", "relabelled"])
def test_data_sets_of_different_utterances_are_refused(config, tmp_path, change):
    corpus = demo.read(config.data_dir + "/demo_corpus")
    prepare(corpus, "demo", tmp_path)
    first, rest = corpus.utterances[:5], corpus.utterances[5:]
    if change == "relabelled":
        rest = [dataclasses.replace(u, speaker="another") for u in first] + rest
    other = dataclasses.replace(corpus, utterances=rest)
    prepare(other, "demo", tmp_path, hop=4000)
    config.update(data_dir=str(tmp_path), test_hop=4000)
    with pytest.raises(ValueError, match="hold different utterances"):
        input_pipeline.load(config)


def test_a_stream_reads_what_is_asked_for(config):
    """In any order and any process; features hold one array no longer than a chunk."""
    features = input_pipeline.load(config).features
    everything = features.read_all()
    assert everything.shape == features.shape
    assert everything.nbytes == features.nbytes
    order = np.random.default_rng(0).permutation(len(everything))
    chunks = np.split(order[:90], 3)
    for workers in (0, 1):
        streamed = list(features.stream(chunks, workers))
        np.testing.assert_array_equal(np.concatenate(streamed), everything[order[:90]])


class Counting(list):
    """Records that count how often each is read."""

    def __init__(self, records):
        super().__init__(records)
        self.reads = []

    def __getitem__(self, place):
        self.reads.append(place)
        return super().__getitem__(place)


def test_only_the_records_of_these_segments_are_read_and_each_once():
    counts = np.array([3, 1, 4])
    source = Counting(
        {"features": np.full((count, 2, 2), 10.0 * k) + np.arange(count)[:, None, None]}
        for k, count in enumerate(counts)
    )
    sources = [
        input_pipeline.Source(source, place, counts[place])
        for place in (2, 0, 1)  # sorted by id, say
    ]
    features = input_pipeline.Features(sources, (2, 2))
    read = features[np.array([3, 4, 1, 6])]
    np.testing.assert_array_equal(read[:, 0, 0], [23, 0, 21, 2])
    assert sorted(source.reads) == [0, 2]
