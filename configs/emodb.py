r"""GLAM on EmoDB with the paper's recipe, four emotions.

python -m data_prep.build --corpus=emodb --source=/path/to/emodb
python -m glam_jax.main --config=configs/emodb.py --config.num_runs=3
python -m glam_jax.main --config=configs/emodb.py --config.protocol=speaker
python -m glam_jax.main --config=configs/emodb.py:model=mhcnn,recipe=glam
"""

import ml_collections

from configs import base


def get_config(options: str = "") -> ml_collections.ConfigDict:
    """GLAM's recipe for EmoDB; `options` are model=NAME,recipe=NAME."""
    config = base.get_config()
    config.corpus = "emodb"
    config.classes = "neutral=neutral sad=sadness angry=anger happy=happiness"
    config.num_epochs = 30
    base.choose_model(config, options)  # last: a recipe may have epochs of its own
    return config
