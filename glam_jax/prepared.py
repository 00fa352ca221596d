"""What a config reads: its prepared data sets, and what it leaves to them."""

import contextlib
import difflib
import pathlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import ml_collections

from data_prep import corpora, features, records, text
from data_prep.corpora import table
from glam_jax import models
from glam_jax.splits import labels

# An emotion of fewer speakers and fewer utterances is no class unless it is named.
FEWEST_SPEAKERS, FEWEST_UTTERANCES = 2, 10
MOST_FOLDS = 12  # of one speaker each


def corpus_names(config: ml_collections.ConfigDict) -> list[str]:
    """The corpora that a config trains on: 'emodb+emovo' are two."""
    return config.corpus.split("+")


def cuts(config: ml_collections.ConfigDict) -> list[list[records.DataSet]]:
    """The data sets of all corpora, by the training hop, and the test hop if another.

    Args:
      config: The config.
    """
    return [
        [
            records.DataSet(
                corpus=corpus,
                features=config.features,
                segment=config.segment,
                hop=hop,
                pad_mode=config.pad_mode,
                emotions=tuple(config.emotions),
            )
            for corpus in corpus_names(config)
        ]
        for hop in dict.fromkeys((config.hop, config.test_hop))
    ]


def folders(config: ml_collections.ConfigDict) -> str:
    """The folders of the data sets that train, for a line."""
    return ", ".join(str(found.folder(config.data_dir)) for found in cuts(config)[0])


def sound(config: ml_collections.ConfigDict) -> dict[str, list[float]]:
    """How the recordings of all corpora sound, see `preparation.sound_of`."""
    ranges: dict[str, list[float]] = {}
    for data_set in cuts(config)[0]:
        if not data_set.is_prepared(config.data_dir):
            continue
        told = records.provenance(data_set.folder(config.data_dir))
        for name, (low, high) in told.get("sound", {}).items():
            lowest, highest = ranges.get(name, (low, high))
            ranges[name] = [min(low, lowest), max(high, highest)]
    return ranges


def missing(config: ml_collections.ConfigDict) -> list[str]:
    """The commands that prepare what a config reads and is not there."""
    return [
        data_set.how_to_prepare(config.data_dir)
        for data_sets in cuts(config)
        for data_set in data_sets
        if not data_set.is_prepared(config.data_dir)
    ]


def not_prepared(commands: list[str], data_dir: str) -> str:
    """What to do when data sets are missing.

    Args:
      commands: What `missing` gave.
      data_dir: Where the data sets were looked for.
    """
    return (
        f"not prepared yet in {pathlib.Path(data_dir).expanduser().absolute()}. "
        "Prepare it with:\n"
        + "".join(f"  {command}\n" for command in commands)
        + "No corpus at hand? Try the synthetic demo:\n"
        "  python -m data_prep.build --corpus=demo\n"
        "  python -m glam_jax.main --config=configs/demo.py"
    )


def of_functionals(
    config: ml_collections.ConfigDict, kind: str = features.FUNCTIONALS[0]
) -> ml_collections.ConfigDict:
    """A copy of a config for the floor, see `glam_jax.linear`.

    Args:
      config: The config.
      kind: One of `features.FUNCTIONALS`, which it reads instead of its features.
    """
    config = config.copy_and_resolve_references()
    config.model, config.features, config.num_epochs = models.FLOOR, kind, 1
    config.test_hop, config.batch_size = config.hop, 1
    plain_inputs(config)
    return config


def plain_inputs(config: ml_collections.ConfigDict) -> None:
    """Makes a config read records as they are: no frontend, no augmentation."""
    from configs import base

    plain = base.get_config()
    for field in ("frontend", "short", "augment"):
        config[field] = plain[field]


def check_corpus(config: ml_collections.ConfigDict) -> None:
    """Finds the corpora of a config among those with a reader and those prepared.

    Raises:
      ValueError: For one that is neither, or one that is named twice.
    """
    names = corpus_names(config)
    if len(set(names)) < len(names):
        raise ValueError(f"config.corpus {config.corpus!r} names a corpus twice")
    unknown = [name for name in names if name not in corpora.readers()]
    if not unknown:
        return
    own = _own_corpora(config.data_dir)
    for name in unknown:
        named = config.copy_and_resolve_references().unlock()
        named.corpus = name or "NAME"
        ((data_set,), *_) = cuts(named)
        if name in own or data_set.is_prepared(config.data_dir):  # it may be damaged
            continue
        known = [*corpora.readers(), *own]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        where = pathlib.Path(config.data_dir).expanduser().absolute()
        raise ValueError(
            f"unknown config.corpus {name!r}{hint} (there are {', '.join(known)}). A "
            f"table of your own is prepared, into {where}, with: "
            f"{data_set.how_to_prepare(config.data_dir)}"
        )


def _own_corpora(data_dir: str) -> list[str]:
    """The corpora without a reader of which a data set is prepared."""
    found = set()
    folder = pathlib.Path(data_dir).expanduser() / records.NAME
    for path in folder.glob(f"*/{records.VERSION}/{records.PROVENANCE}"):
        with contextlib.suppress(ValueError):  # a damaged one may be no one's concern
            told = records.provenance(path.parent)
            found.add(told.get("data_set", {}).get("corpus", ""))
    return sorted(found - {"", *corpora.readers()})


def complete(config: ml_collections.ConfigDict) -> None:
    """Fills in what a config leaves to the prepared data, and says what it took.

    These are classes, the protocol, and the TFDS splits; a config that names them is
    left as it is.

    Args:
      config: The config, which is changed.

    Raises:
      ValueError: When the data sets are not prepared, or give no classes.
    """
    classes = config.classes or any(config.label_sets.values())
    if classes and config.protocol and config.tfds_splits:
        return
    told = _provenances(config)
    _complete_splits(config, told)
    if not classes:
        config.classes = labels.written(_classes(config.corpus, told))
    elif config.classes:
        _tell_unused(labels.label_set(config), told)
    if not config.protocol:
        own_splits = []
        for data_set in cuts(config)[0]:
            with _repairable(data_set, config.data_dir):
                parts = records.own_split(data_set.folder(config.data_dir))
            own_splits.append(set(parts.values()))
        choose_protocol(config, told, own_splits)


def emotions(config: ml_collections.ConfigDict) -> Counter:
    """How many utterances of each emotion the data sets of a config have.

    The TFDS splits are filled in, where it names none.

    Raises:
      ValueError: When they are not prepared.
    """
    told = _provenances(config)
    _complete_splits(config, told)
    return _count(told)


def _provenances(config: ml_collections.ConfigDict) -> list[dict[str, Any]]:
    """What each data set of a config was made of, with counts of its emotions."""
    if commands := missing(config):
        raise ValueError(not_prepared(commands, config.data_dir))
    told = []
    for data_set in cuts(config)[0]:
        folder = data_set.folder(config.data_dir)
        with _repairable(data_set, config.data_dir):
            told.append(records.provenance(folder))
        if "emotions" not in told[-1]:
            raise ValueError(
                f"{folder} was prepared by an earlier version, which kept no counts: "
                "delete it and prepare it again, or set --config.classes and "
                "--config.protocol"
            )
    return told


@contextlib.contextmanager
def _repairable(data_set: records.DataSet, data_dir: str) -> Iterator[None]:
    """What is wrong with a data set is said with what to do."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}: {data_set.how_to_repair(data_dir)}") from error


def _complete_splits(
    config: ml_collections.ConfigDict, told: list[dict[str, Any]]
) -> None:
    if not config.tfds_splits:
        parts = [part for of_corpus in told for part in of_corpus["splits"]]
        config.tfds_splits = tuple(dict.fromkeys(parts))


def _count(told: list[dict[str, Any]]) -> Counter:
    found: Counter = Counter()
    for of_corpus in told:
        for word, counts in of_corpus["emotions"].items():
            found[word] += counts["utterances"]
    return found


def _classes(corpus: str, told: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The emotions that are frequent enough; those of one spelling are a class."""
    utterances: dict[str, Counter] = {}
    speakers: Counter = Counter()
    for of_corpus in told:
        for word, counts in of_corpus["emotions"].items():
            key = table.spelling(word)
            utterances.setdefault(key, Counter())[word] += counts["utterances"]
            speakers[key] += counts["speakers"]
    classes, few = {}, []
    for key, words in sorted(utterances.items()):
        (name, _), *_ = words.most_common(1)
        enough = words.total() >= FEWEST_UTTERANCES
        if enough or speakers[key] >= FEWEST_SPEAKERS:
            classes[name] = tuple(sorted(words))
        else:
            few.append(f"{name} ({words.total()})")
    found = {name: sum(utterances[table.spelling(name)].values()) for name in classes}
    listed = ", ".join(f"{name} ({count})" for name, count in found.items())
    if few:
        print(
            f"left out, with fewer than {FEWEST_SPEAKERS} speakers and "
            f"{FEWEST_UTTERANCES} utterances: {text.printable(', '.join(few))}"
        )
    if len(classes) < 2:
        raise ValueError(
            f"{corpus} has {len(classes)} emotions of {FEWEST_SPEAKERS} speakers or "
            f"{FEWEST_UTTERANCES} utterances, and two are needed ({listed or 'none'}); "
            'name the classes, such as --config.classes="sad=sad happy=happy,joy"'
        )
    print(
        f"classes of {corpus}: {text.printable(listed)}; --config.classes maps and "
        "merges them"
    )
    return classes


def _tell_unused(
    classes: dict[str, tuple[str, ...]], told: list[dict[str, Any]]
) -> None:
    """Prints the emotions that are in no class, and the words that nothing has."""
    found = _count(told)
    words = {word for of_class in classes.values() for word in of_class}
    if unused := [f"{word} ({found[word]})" for word in sorted(found.keys() - words)]:
        print(f"in no class: {text.printable(', '.join(unused))}")
    if unknown := sorted(words - found.keys()):
        listed = " or ".join(map(repr, unknown))
        print(f"warning: config.classes: no utterance is {listed}")


def choose_protocol(
    config: ml_collections.ConfigDict,
    told: list[dict[str, Any]],
    own_splits: list[set[str]],
) -> None:
    """Sets the protocol that the data allow, and says which.

    Args:
      config: The config, which is changed.
      told: The provenance of each data set.
      own_splits: The parts that the own split of each corpus has.
    """
    without = sum(of_corpus["without_speaker"] for of_corpus in told)
    groups = sum(of_corpus["speaker_groups"] for of_corpus in told)
    if all({"train", "test"} <= parts for parts in own_splits):
        config.protocol, why = "table", "the table has a split"
    elif not without and groups > 1:
        config.protocol, why = "speaker_folds", "speakers are known"
        if groups < config.num_folds:
            config.num_folds = groups
        why += f", {config.num_folds} folds"
    else:
        config.protocol = "paper"
        why = f"{without} utterances name no speaker" if without else "one speaker"
        print(
            "warning: a random split, which may have the same speakers in training and "
            "in test: the scores say little about new speakers"
        )
    print(f"protocol {config.protocol}: {why}; --config.protocol chooses another")


def hold_out_speakers(config: ml_collections.ConfigDict) -> tuple[str, int]:
    """How speakers are held out: a protocol, and the number of its folds.

    Each speaker is a fold of protocol `speaker`, or `config.num_folds` groups of them
    are (`speaker_folds`) where there are more than `MOST_FOLDS`.

    Args:
      config: The config.

    Raises:
      ValueError: When the data sets are not prepared, or speakers are not known.
    """
    told = _provenances(config)
    if without := sum(of_corpus["without_speaker"] for of_corpus in told):
        raise ValueError(
            f"{config.corpus}: {without} utterances name no speaker, so none can be "
            "held out"
        )
    speakers = sum(of_corpus["speakers"] for of_corpus in told)
    if speakers <= MOST_FOLDS:
        return "speaker", speakers
    return "speaker_folds", config.num_folds
