r"""GLAM on RAVDESS's speech with the paper's recipe, eight emotions.

python -m data_prep.build --corpus=ravdess --source=/path/to/ravdess
python -m glam_jax.main --config=configs/ravdess.py --config.protocol=speaker_folds

Not run here. The corpus has two sentences: every text is on both sides of each protocol
but `text`.
"""

import ml_collections

from configs import iemocap

CLASSES = tuple(
    (emotion, (emotion,))
    for emotion in (
        "neutral",
        "calm",
        "happy",
        "sad",
        "angry",
        "fearful",
        "disgust",
        "surprised",
    )
)


def get_config(options: str = "") -> ml_collections.ConfigDict:
    """IEMOCAP's recipe for RAVDESS; `options` are model=NAME,recipe=NAME."""
    config = iemocap.get_config(f"full,{options}")
    config.corpus = "ravdess"
    config.tfds_splits = ("train",)
    config.classes.paper = CLASSES
    config.classes.speaker_independent = CLASSES
    return config
