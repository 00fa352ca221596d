r"""GLAM on a corpus of one's own, from a table or from class folders.

  python -m data_prep.build --corpus=table --name=mine --labels=mine/labels.csv
  python -m glam_jax.main --config=configs/table.py:mine
  python -m glam_jax.main --config=configs/table.py:mine --config.protocol=speaker
  python -m glam_jax.main --config=configs/table.py:mine,model=mhcnn,recipe=glam

What the prepared data decide is left empty here, and filled in when a command begins
(glam_jax/prepared.py): all emotions with two speakers or ten utterances are classes;
the protocol is `table` where the table has a split, else `speaker_folds` where speakers
are known, else `paper`.
"""

import ml_collections

from configs import base


def get_config(argument: str = "") -> ml_collections.ConfigDict:
    """GLAM's recipe for a corpus of one's own.

    Args:
      argument: NAME,model=NAME,recipe=NAME, all but the first optional; NAME is the
        --name that it was prepared with.

    Raises:
      ValueError: Without a name.
    """
    name, _, options = argument.partition(",")
    if not name or "=" in name:
        raise ValueError(
            "name the corpus as configs/table.py:NAME, the --name it was prepared with"
        )
    config = base.get_config(options)
    config.corpus = name
    config.tfds_splits = ()
    config.protocol = ""
    return config
