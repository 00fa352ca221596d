r"""GLAM on RAVDESS's speech with the paper's recipe, eight emotions.

python -m data_prep.build --corpus=ravdess --source=/path/to/ravdess
python -m glam_jax.main --config=configs/ravdess.py --config.protocol=speaker_folds

Not run here. The corpus has two sentences: every text is on both sides of each protocol
but `text`.
"""

import ml_collections

from configs import base


def get_config(options: str = "") -> ml_collections.ConfigDict:
    """GLAM's recipe for RAVDESS; `options` are model=NAME,recipe=NAME."""
    config = base.get_config(options)
    config.corpus = "ravdess"
    config.classes = (
        "neutral=neutral calm=calm happy=happy sad=sad angry=angry fearful=fearful "
        "disgust=disgust surprised=surprised"
    )
    return config
