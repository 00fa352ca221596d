"""Where trainings end, beside PyTorch's: the differences and their intervals."""

import pytest
from scipy import stats

from configs import emodb
from glam_jax.benchmark import outcomes

OURS, THEIRS = [[1.0, 2.0, 4.0], [12.0, 11.0, 14.0]], [[0.0, 1.0, 2.5], [9.0, 8.0, 8.5]]


def test_of_one_split_it_is_welchs_interval():
    mean, half = outcomes.difference(OURS[:1], THEIRS[:1])
    low, high = stats.ttest_ind(
        OURS[0], THEIRS[0], equal_var=False
    ).confidence_interval()
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_what_differs_between_splits_is_no_noise():
    _, of_one = outcomes.difference(OURS[:1], THEIRS[:1])
    shifted = [[value + 50 for value in side[0]] for side in (OURS, THEIRS)]
    ours, theirs = (
        [side[0], other] for side, other in zip((OURS, THEIRS), shifted, strict=False)
    )
    mean, half = outcomes.difference(ours, theirs)
    assert mean == pytest.approx(outcomes.difference(OURS[:1], THEIRS[:1])[0])
    assert half < of_one


def rows(side, seed, *epochs):
    return [
        {"side": side, "split": 0, "seed": seed, "epoch": n, "loss": 1.0 / n}
        | {"wa": wa, "ua": wa - 1}
        for n, wa in enumerate(epochs, 1)
    ]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", "mhcnn", "has no mhcnn here"),
        ("class_weights", True, "leave --config.class_weights out"),
        ("mixup_alpha", 0.0, "mixup_alpha must be above 0"),
    ],
)
def test_a_recipe_that_pytorch_does_not_know_is_refused(field, value, message):
    config = emodb.get_config().lock()  # as a command makes it
    outcomes.check(config)
    config[field] = value
    with pytest.raises(ValueError, match=message):
        outcomes.check(config)


def test_a_table_has_the_last_and_the_best_epoch_and_the_losses():
    measured = [
        *rows("ours", 0, 60.0, 90.0, 80.0),
        *rows("ours", 1, 70.0, 80.0, 82.0),
        *rows("pytorch", 0, 50.0, 70.0, 78.0),
        *rows("pytorch", 1, 50.0, 70.0, 80.0),
    ]
    lines = outcomes.table(measured).splitlines()
    assert "81.00 ± 1.41" in lines[2] and "79.00 ± 1.41" in lines[2]
    assert lines[2].startswith("| WA, last epoch")
    assert "+2.00 (-4.08" in lines[2]
    assert lines[3].startswith("| WA, best epoch") and "86.00" in lines[3]
    assert [line.split("|")[1].strip() for line in lines[-3:]] == [
        f"loss, epoch {n}" for n in (1, 2, 3)
    ]
