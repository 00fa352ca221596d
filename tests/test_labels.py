"""Label sets: as strings of a config, and which of them counts."""

import json

import pytest

import configs
from configs import base, iemocap
from glam_jax.splits import labels


@pytest.mark.parametrize(
    ("protocol", "last"),
    [("paper_811", ("excited", ("exc",))), ("session", ("happy", ("hap", "exc")))],
)
def test_the_protocol_says_which_label_set_counts(protocol, last):
    config = iemocap.get_config()
    config.protocol = protocol
    found = labels.label_set(config)
    assert list(found) == ["neutral", "sad", "angry", last[0]]
    assert found[last[0]] == last[1]
    assert labels.label_set(json.loads(config.to_json())) == found


def test_classes_that_are_given_count_under_every_protocol():
    config = iemocap.get_config()
    config.classes = "calm=neu,sad  loud=ang"
    assert labels.label_set(config) == {"calm": ("neu", "sad"), "loud": ("ang",)}


@pytest.mark.parametrize("corpus", configs.CORPORA)
def test_every_corpus_has_classes(corpus):
    assert len(labels.label_set(configs.CORPORA[corpus]())) >= 4


def test_a_config_without_classes_is_told_how_to_set_them():
    with pytest.raises(ValueError, match=r"names no classes.*--config\.classes="):
        labels.label_set(base.get_config())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sad=sad sad=neu", "two classes have the name 'sad'"),
        ("sad=sad,x happy=x", "'x' is in a class twice, or in two"),
        ("sad=x,x happy=y", "'x' is in a class twice"),
        ("sad= happy=hap", "'sad=' is not of the form CLASS=WORD,WORD"),
        ("sad happy=hap", "'sad' is not of the form"),
        ("=sad happy=hap", "'=sad' is not of the form"),
        ("sad=sad, happy=hap", "'sad=sad,' is not of the form"),
        ("sad=a=b happy=hap", "'sad=a=b' is not of the form"),
        ("sad=sad", "fewer than two classes"),
    ],
)
def test_what_is_no_label_set_is_refused(text, message):
    with pytest.raises(ValueError, match=rf"config\.classes: .*{message}"):
        labels.parse(text, "classes")


def test_words_in_quotes_may_have_blanks_commas_and_quotes():
    classes = {"very sad": ("very sad", "sad,ish"), "loud": ('"loud"', "a=b")}
    text = labels.written(classes)
    assert labels.parse(text, "classes") == classes
    assert labels.written({"sad": ("sad", "low")}) == "sad=sad,low"
