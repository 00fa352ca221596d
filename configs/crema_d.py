r"""GLAM on CREMA-D with the paper's recipe, six emotions.

python -m data_prep.build --corpus=crema_d --source=/path/to/crema_d
python -m glam_jax.main --config=configs/crema_d.py --config.protocol=speaker_folds

Not run here.
"""

import ml_collections

from configs import iemocap

CLASSES = (
    ("neutral", ("NEU",)),
    ("sad", ("SAD",)),
    ("angry", ("ANG",)),
    ("happy", ("HAP",)),
    ("fearful", ("FEA",)),
    ("disgusted", ("DIS",)),
)


def get_config(options: str = "") -> ml_collections.ConfigDict:
    """IEMOCAP's recipe for CREMA-D; `options` are model=NAME,recipe=NAME."""
    config = iemocap.get_config(f"full,{options}")
    config.corpus = "crema_d"
    config.tfds_splits = ("train",)
    config.classes.paper = CLASSES
    config.classes.speaker_independent = CLASSES
    return config
