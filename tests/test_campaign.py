"""A little of what campaign.py does: nothing is silently other."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import random_sounds


def test_random_sounds_are_read_as_they_were_made_or_named(tmp_path):
    outcomes = random_sounds.try_all(tmp_path, 40, np.random.default_rng(0))
    assert outcomes["identical"] + outcomes["named"] == 40
    assert outcomes["identical"] > 4


@pytest.mark.slow  # test_train.py and test_records.py damage one file of each kind
def test_random_kills_and_damages_are_mended_or_named():
    script = pathlib.Path(__file__).parent / "campaign.py"
    counts = ["--kills=2", "--damages=4", "--sounds=0"]
    subprocess.run([sys.executable, script, "--seed=1", *counts], check=True)
