r"""GLAM on IEMOCAP with the paper's recipe.

  python -m data_prep.build --corpus=iemocap --source=/path/to/IEMOCAP_full_release
  python -m glam_jax.main --config=configs/iemocap.py            # improvised
  python -m glam_jax.main --config=configs/iemocap.py:script     # scripted
  python -m glam_jax.main --config=configs/iemocap.py:full       # both
  python -m glam_jax.main --config=configs/iemocap.py:impro,model=mhcnn
  python -m glam_jax.main --config=configs/iemocap.py:impro,model=mhcnn,recipe=glam

The paper reports WA/UA 81.18/79.25 (improvised), 71.44/70.39 (scripted) and 73.70/73.90
(full) for the best epoch on the test fold. Not run here: the corpus needs a licence.
"""

import ml_collections

from configs import base

TFDS_SPLITS = {
    "impro": ("impro",),
    "script": ("script",),
    "full": ("impro", "script"),
}


def get_config(argument: str = "impro") -> ml_collections.ConfigDict:
    """The paper's recipe for a subset of IEMOCAP.

    Args:
      argument: SUBSET,model=NAME,recipe=NAME, each optional; a subset is a key of
        `TFDS_SPLITS`.

    Raises:
      ValueError: For another subset, model or recipe.
    """
    subset, _, options = argument.partition(",")
    if "=" in subset:
        subset, options = "impro", argument
    if subset not in TFDS_SPLITS:
        raise ValueError(f"no subset {subset!r}; there are {', '.join(TFDS_SPLITS)}")
    config = base.get_config(options)
    config.corpus = "iemocap"
    config.tfds_splits = TFDS_SPLITS[subset]
    config.label_sets.paper = "neutral=neu sad=sad angry=ang excited=exc"
    config.label_sets.speaker_independent = (
        "neutral=neu sad=sad angry=ang happy=hap,exc"
    )
    return config
