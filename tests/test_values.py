"""Values that no training can have are refused by their field, before JAX is there."""

import subprocess
import sys

import pytest

from configs import emodb
from glam_jax import values


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", -1.0),
        ("learning_rate", 0.0),
        ("learning_rate_decay", 1.5),
        ("momentum", 1.0),
        ("weight_decay", -1.0),
        ("mixup_alpha", float("nan")),
        ("segment", 0),
        ("num_folds", 1),
        ("seed", 3_000_000_000),
        ("seed", -1),
        ("corpus", "tess"),
        ("features", "mfc"),
        ("pad_mode", "x"),
        ("optimizer", "lamb"),
        ("protocol", "loso"),
        ("model", "resnet"),
    ],
)
def test_a_senseless_value_is_refused_by_its_field(field, value):
    config = emodb.get_config()
    config[field] = value
    with pytest.raises(ValueError, match=field):
        values.check(config)


def test_the_nearest_name_is_told():
    config = emodb.get_config()
    config.optimizer = "adma"
    with pytest.raises(
        ValueError, match=r"did you mean adam\? \(there are adam, adamw, sgd\)"
    ):
        values.check(config)


def test_it_takes_no_jax():
    script = (
        "import sys; from configs import emodb; from glam_jax import values; "
        "values.check(emodb.get_config()); print('jax' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", script]) == b"False\n"


@pytest.mark.parametrize(
    ("place", "field", "hint"),
    [
        ("", "num_epoch", "; did you mean num_epochs"),
        ("augment", "mask", "; did you mean augment.masks"),
        ("label_sets", "xyz", "$"),
    ],
)
def test_a_field_that_nothing_reads_is_refused(place, field, hint):
    """A config file may add any: the command line may not."""
    config = emodb.get_config()
    (config[place] if place else config)[field] = 3
    name = rf"no field config\.{place}\.?{field}{hint}"
    with pytest.raises(ValueError, match=name):
        values.check(config)
