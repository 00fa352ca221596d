r"""GLAM on the synthetic demo corpus: shows the program at work, measures nothing.

python -m data_prep.build --corpus=demo
python -m glam_jax.main --config=configs/demo.py
"""

import ml_collections

from configs import iemocap


def get_config(options: str = "") -> ml_collections.ConfigDict:
    """IEMOCAP's config with fewer epochs; `options` are model=NAME,recipe=NAME."""
    config = iemocap.get_config(f"full,{options}")
    config.corpus = "demo"
    config.num_runs = 2
    config.num_epochs = 6
    config.checkpoint_every = 2
    return config
