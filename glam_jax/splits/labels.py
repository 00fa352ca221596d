"""Label sets: the classes that a config tells apart, and the words for each."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import ml_collections

from glam_jax import splits

_QUOTED = r'"(?:[^"]|"")*"'
_WORD = rf'(?:{_QUOTED}|[^\s,="][^\s,=]*)'
_CLASS = re.compile(rf"({_WORD})=({_WORD}(?:,{_WORD})*)")


def label_set(
    config: ml_collections.ConfigDict | Mapping[str, Any],
) -> dict[str, tuple[str, ...]]:
    """The corpus's words of each class, in the order of the labels.

    Args:
      config: The config, or what config.json holds. `classes` counts; where it is
        empty, the one of `label_sets` that the protocol names.

    Raises:
      ValueError: When there is none, or it is not one.
    """
    field, text = "classes", config["classes"]
    if not text:
        name = splits.protocol(config["protocol"]).label_set
        field, text = f"label_sets.{name}", config["label_sets"][name]
    if not text:
        raise ValueError(
            "the config names no classes. Set them as "
            '--config.classes="sad=sad happy=hap,exc", with the corpus\'s words after '
            "each class"
        )
    return parse(text, field)


def parse(text: str, field: str) -> dict[str, tuple[str, ...]]:
    """'sad=sad happy=hap,exc' -> {'sad': ('sad',), 'happy': ('hap', 'exc')}.

    Args:
      text: Each class, an equals sign, and its words with commas between them. What
        has a blank, a comma or an equals sign in it stands in double quotes.
      field: The field of the config that holds it, for errors.

    Raises:
      ValueError: For an empty class, two of one name, a word in two classes, or less
        than two classes.
    """
    classes: dict[str, tuple[str, ...]] = {}
    for part in re.findall(rf"(?:{_QUOTED}|\S)+", text):
        if not (match := _CLASS.fullmatch(part)):
            raise ValueError(
                f"config.{field}: {part!r} is not of the form CLASS=WORD,WORD"
            )
        name, *words = map(_unquoted, [match[1], *re.findall(_WORD, match[2])])
        if name in classes:
            raise ValueError(f"config.{field}: two classes have the name {name!r}")
        classes[name] = tuple(words)
    counts = Counter(word for words in classes.values() for word in words)
    if twice := [word for word, count in counts.items() if count > 1]:
        raise ValueError(f"config.{field}: {twice[0]!r} is in a class twice, or in two")
    if len(classes) < 2:
        raise ValueError(f"config.{field}: {text!r} names fewer than two classes")
    return classes


def written(classes: Mapping[str, tuple[str, ...]]) -> str:
    """The text that `parse` reads as these classes."""
    return " ".join(
        f"{_quoted(name)}={','.join(map(_quoted, words))}"
        for name, words in classes.items()
    )


def _quoted(word: str) -> str:
    if re.fullmatch(r'[^\s,="]+', word):
        return word
    return '"' + word.replace('"', '""') + '"'


def _unquoted(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word
