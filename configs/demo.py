r"""GLAM on the synthetic demo corpus: shows the program at work, measures nothing.

python -m data_prep.build --corpus=demo
python -m glam_jax.main --config=configs/demo.py
"""

import ml_collections

from configs import iemocap


def get_config() -> ml_collections.ConfigDict:
    """IEMOCAP's recipe for the demo corpus, with fewer epochs."""
    config = iemocap.get_config("full")
    config.corpus = "demo"
    config.num_runs = 2
    config.num_epochs = 6
    config.checkpoint_every = 2
    return config
