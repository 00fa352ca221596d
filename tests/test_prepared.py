"""What a config leaves to the prepared data, and several corpora in one training."""

import numpy as np
import pytest
import soundfile
from commands import run_command
from helpers import shorten
from networks import TINY

import configs.table
from configs import emodb as emodb_config
from data_prep import preparation, records
from data_prep.corpora import table
from glam_jax import input_pipeline, prepared, runs, train, values
from glam_jax.splits import labels

COUNT = {"calm": 12, "loud": 12}


def prepare(data_dir, name, rows, header="file,emotion,speaker"):
    """Prepares a corpus of a second of sound for each row, in its own folder.

    Args:
      data_dir: The folder of data sets and corpora.
      name: The corpus.
      rows: The cells of each row behind the file.
      header: The columns.
    """
    folder = data_dir / name
    folder.mkdir()
    random = np.random.default_rng(len(name))
    lines = [header]
    for number, cells in enumerate(rows):
        tone = np.sin(np.arange(16000) * (0.05 if "loud" in cells else 0.01))
        sound = 0.2 * tone + 0.02 * random.normal(size=16000)
        soundfile.write(folder / f"{number}.wav", sound, 16000)
        lines.append(f"{number}.wav,{cells}")
    (folder / "labels.csv").write_text("\n".join(lines))
    data_set = records.DataSet(name, segment=8000, hop=8000)
    of_table = table.Labels(str(folder / "labels.csv"))
    preparation.prepare(data_set, None, data_dir, labels=of_table)


def speakers(names, count=COUNT):
    """Rows of 'emotion,speaker', the speakers in turn."""
    words = [word for word, times in count.items() for _ in range(times)]
    return [f"{word},{names[k % len(names)]}" for k, word in enumerate(words)]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Three corpora of one's own: with speakers, without, and with a split."""
    folder = tmp_path_factory.mktemp("own")
    few = {"Calm": 2, "calm": 10, "loud": 12, "very loud": 1, "rare": 1}
    prepare(folder, "voices", speakers(["a", "b", "c"], few))
    prepare(folder, "nobody", [f"{w}," for w in ["calm", "loud"] * 12])
    prepare(folder, "others", speakers(["a", "b"], {"quiet": 12, "loud": 12}))
    parts = ["train"] * 8 + ["dev"] * 2 + ["test"] * 2
    rows = [f"{w},{p}" for w in ("calm", "loud") for p in parts]
    prepare(folder, "parted", rows, "file,emotion,split")
    rows = [row.replace("dev", "") for row in rows]
    prepare(folder, "halved", rows, "file,emotion,split")
    return folder


def config_of(argument, data_dir, **fields):
    config = shorten(configs.table.get_config(argument), data_dir)
    config.update(num_runs=0, **fields)
    values.check(config)
    return config


def test_classes_are_the_emotions_of_the_data(data_dir, capsys):
    config = config_of("voices,model=mhcnn", data_dir)
    assert labels.label_set(config) == {"calm": ("Calm", "calm"), "loud": ("loud",)}
    printed = capsys.readouterr().out
    assert "left out, with fewer than 2 speakers and 10 utterances: rare (1), very" in (
        printed
    )
    assert "classes of voices: calm (12), loud (12); --config.classes" in printed
    assert config.tfds_splits == ("train",)


def test_classes_that_are_given_count(data_dir, capsys):
    given = 'soft=calm,Calm strong=loud,"very loud",cross'
    config = config_of("voices", data_dir, classes=given)
    printed = capsys.readouterr().out
    assert "in no class: rare (1)\n" in printed
    assert "warning: config.classes: no utterance is 'cross'\n" in printed
    assert config.classes == given
    dataset = input_pipeline.load(config)
    assert dataset.unknown_words == ("cross",)  # also where nothing is filled in
    assert dataset.class_names == ("soft", "strong")
    assert np.bincount(dataset.labels).tolist() == [12, 13]


def test_a_word_that_nearly_is_in_a_class_is_told(data_dir):
    classes = "calm=calm loud=loud"
    config = config_of("voices", data_dir, classes=classes, protocol="speaker")
    dataset = input_pipeline.load(config)
    told = "2 utterances are 'Calm', which is in no class: config.classes has 'calm'"
    assert dataset.unused == (told,)
    report = train.tell_splits(config, runs.plan(config, dataset), dataset)
    assert told in report["warnings"]
    config = config_of("voices", data_dir)  # where both are one class
    assert input_pipeline.load(config).unused == ()


@pytest.mark.parametrize(
    ("corpus", "protocol", "said"),
    [
        ("voices", "speaker_folds", "speakers are known, 3 folds"),
        ("nobody", "paper", "24 utterances name no speaker"),
        ("parted", "table", "the table has a split"),
        ("voices+others", "speaker_folds", "speakers are known, 5 folds"),
        ("voices+nobody", "paper", "24 utterances name no speaker"),
        ("voices+parted", "paper", "24 utterances name no speaker"),
    ],
)
def test_the_protocol_is_what_the_data_allow(data_dir, capsys, corpus, protocol, said):
    config = config_of(corpus, data_dir)
    assert config.protocol == protocol
    printed = capsys.readouterr().out
    assert f"protocol {protocol}: {said}; --config.protocol chooses another" in printed
    assert ("may have the same speakers in training" in printed) == (
        protocol == "paper"
    )
    config = config_of(corpus, data_dir, protocol="paper_811")
    assert config.protocol == "paper_811"


def test_too_few_classes_are_told(data_dir, tmp_path):
    prepare(tmp_path, "poor", ["calm,a", "loud,a", "sad,a"])
    with pytest.raises(ValueError, match="poor has 0 emotions of 2 speakers or 1"):
        config_of("poor", tmp_path)


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ("voice", r"unknown config\.corpus 'voice'; did you mean voices\?"),
        ("none", r"--corpus=table --name=none --labels=/path/to/labels\.csv"),
        ("voices+none", "unknown config.corpus 'none'"),
        ("voices+voices", "names a corpus twice"),
        ("voices+", "unknown config.corpus ''"),
    ],
)
def test_a_corpus_that_is_not_prepared_is_told(data_dir, corpus, message):
    with pytest.raises(ValueError, match=message):
        config_of(corpus, data_dir)


def test_another_cut_is_told_with_the_command_that_prepares_it(data_dir):
    config = configs.table.get_config("voices")
    config.data_dir = str(data_dir)
    with pytest.raises(ValueError, match="not prepared yet") as error:
        values.check(config)
    assert "--corpus=table --name=voices --labels=" in str(error.value)
    assert "--segment=28800 --hop=3199" in str(error.value)


def test_a_table_is_named_in_the_config_file():
    with pytest.raises(ValueError, match=r"configs/table\.py:NAME"):
        configs.table.get_config("model=mhcnn")


def test_protocol_table_is_the_split_column(data_dir):
    config = config_of("parted", data_dir)
    (run,) = runs.plan(config, input_pipeline.load(config))
    assert run.fold == "table"
    counts = [len(run.split.train), len(run.split.validation), len(run.split.test)]
    assert counts == [16, 4, 4]
    config = config_of("halved", data_dir)
    (run,) = runs.plan(config, input_pipeline.load(config))
    assert [len(run.split.train), len(run.split.validation)] == [16, 0]
    config = config_of("voices", data_dir, protocol="table")
    with pytest.raises(ValueError, match="needs a table with a split column"):
        runs.plan(config, input_pipeline.load(config))


def test_two_corpora_train_on_their_own_splits_and_are_reported_apart(
    data_dir, tmp_path, without_figures
):
    """No utterance validates, so that the last epoch is reported."""
    config = config_of("halved+parted", data_dir, model=TINY, batch_size=8)
    split = tmp_path / "split.csv"
    parts = records.own_split(prepared.cuts(config)[0][0].folder(data_dir))
    rows = [f"{c}/{i},{p}" for c in ("halved", "parted") for i, p in parts.items()]
    split.write_text("\n".join(["utterance,table", *rows]))
    config.split_file = str(split)
    told = train.train_and_evaluate(config, str(tmp_path / "run"))
    assert (told["protocol"], told["selection"]) == ("table", "last")
    (run,) = told["runs"]
    assert (run["train_utterances"], run["test_utterances"]) == (32, 8)
    assert run["selected"]["epoch"] == config.num_epochs
    assert told["corpora"].keys() == {"halved", "parted"}
    matrices = [c["confusion_matrix"] for c in told["corpora"].values()]
    np.testing.assert_array_equal(np.sum(matrices, axis=0), told["confusion_matrix"])
    assert [np.sum(matrix) for matrix in matrices] == [4, 4]
    written = (tmp_path / "run" / "report.md").read_text()
    assert "**reported: last epoch**" in written
    assert "By corpus, at the epoch reported" in written
    assert "| parted " in written


def test_a_run_with_validation_beside_one_without_is_refused(data_dir, tmp_path):
    config = config_of("parted", data_dir)
    (run,) = runs.plan(config, input_pipeline.load(config))
    ids = input_pipeline.load(config).ids
    rows = [f"{i},train,train" for i in ids[run.split.train]]
    rows += [f"{i},validation," for i in ids[run.split.validation]]
    rows += [f"{i},test,test" for i in ids[run.split.test]]
    split = tmp_path / "split.csv"
    split.write_text("\n".join(["utterance,one,two", *rows]))
    config.split_file = str(split)
    with pytest.raises(ValueError, match="two has no validation utterance"):
        runs.plan(config, input_pipeline.load(config))


def test_groups_of_several_corpora_are_those_of_their_corpus(data_dir):
    config = config_of(
        "voices+others", data_dir, classes="calm=calm,Calm,quiet loud=loud"
    )
    dataset = input_pipeline.load(config)
    assert len(dataset.ids) == 48
    assert list(dataset.ids) == sorted(dataset.ids)
    assert set(dataset.groups.speaker) == {
        *(f"voices/{name}" for name in "abc"),
        *(f"others/{name}" for name in "ab"),
    }
    assert set(dataset.groups.session) == {""}
    assert not any("/" in content for content in dataset.groups.content)
    others = dataset.utterance == list(dataset.ids).index("others/3.wav")
    alone = config_of("others", data_dir)
    alone = input_pipeline.load(alone)
    same = alone.utterance == list(alone.ids).index("3.wav")
    np.testing.assert_array_equal(
        dataset.features[np.flatnonzero(others)], alone.features[np.flatnonzero(same)]
    )


def test_a_corpus_without_any_class_is_told(data_dir):
    config = config_of("voices+others", data_dir, classes="calm=calm low=rare")
    with pytest.raises(ValueError, match="no utterance of others is of a class"):
        input_pipeline.load(config)


def test_a_corpus_of_ones_own_from_the_command_line(data_dir, tmp_path):
    out = tmp_path / "splits.csv"
    process = run_command(
        "glam_jax.split",
        "--config=configs/table.py:voices",
        f"--config.data_dir={data_dir}",
        "--config.segment=8000",
        "--config.hop=8000",
        "--config.test_hop=8000",
        f"--out={out}",
    )
    assert process.returncode == 0, process.stderr
    assert "protocol speaker_folds" in process.stdout
    assert "0 of 1 speakers" in process.stdout
    assert out.read_text().startswith("utterance,fold0,fold1,fold2\n")


def test_a_config_that_names_all_needs_no_data():
    config = emodb_config.get_config()
    config.data_dir = "nowhere"
    before = config.to_json()
    prepared.complete(config)
    assert config.to_json() == before
