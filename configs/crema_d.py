r"""GLAM on CREMA-D with the paper's recipe, six emotions.

python -m data_prep.build --corpus=crema_d --source=/path/to/crema_d
python -m glam_jax.main --config=configs/crema_d.py --config.protocol=speaker_folds

Not run here.
"""

import ml_collections

from configs import base


def get_config(options: str = "") -> ml_collections.ConfigDict:
    """GLAM's recipe for CREMA-D; `options` are model=NAME,recipe=NAME."""
    config = base.get_config(options)
    config.corpus = "crema_d"
    config.classes = "neutral=NEU sad=SAD angry=ANG happy=HAP fearful=FEA disgusted=DIS"
    return config
