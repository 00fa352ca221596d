r"""GLAM on EmoDB with the paper's recipe, four emotions.

python -m data_prep.build --corpus=emodb --source=/path/to/emodb
python -m glam_jax.main --config=configs/emodb.py --config.num_runs=3
python -m glam_jax.main --config=configs/emodb.py --config.protocol=speaker
python -m glam_jax.main --config=configs/emodb.py:model=mhcnn,recipe=glam
"""

import ml_collections

from configs import iemocap

CLASSES = (
    ("neutral", ("neutral",)),
    ("sad", ("sadness",)),
    ("angry", ("anger",)),
    ("happy", ("happiness",)),
)


def get_config(options: str = "") -> ml_collections.ConfigDict:
    """IEMOCAP's recipe for EmoDB; `options` are model=NAME,recipe=NAME."""
    config = iemocap.get_config(f"full,{options}")
    config.corpus = "emodb"
    config.tfds_splits = ("train",)
    config.classes.paper = CLASSES
    config.classes.speaker_independent = CLASSES
    config.num_epochs = 30
    return config
