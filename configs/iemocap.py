r"""GLAM on IEMOCAP with the paper's recipe (Zhu & Li 2022, section 4).

  python -m data_prep.build --corpus=iemocap --source=/path/to/IEMOCAP_full_release
  python -m glam_jax.main --config=configs/iemocap.py            # improvised
  python -m glam_jax.main --config=configs/iemocap.py:script     # scripted
  python -m glam_jax.main --config=configs/iemocap.py:full       # both
  python -m glam_jax.main --config=configs/iemocap.py:impro,model=mhcnn
  python -m glam_jax.main --config=configs/iemocap.py:impro,model=mhcnn,recipe=glam

`model=` takes another model with its own published recipe, `recipe=` that of another
model (configs/recipes.py).

The paper reports WA/UA 81.18/79.25 (improvised), 71.44/70.39 (scripted) and 73.70/73.90
(full) for the best epoch on the test fold. Not run here: the corpus needs a licence.
"""

import ml_collections

from configs import recipes

TFDS_SPLITS = {
    "impro": ("impro",),
    "script": ("script",),
    "full": ("impro", "script"),
}


def get_config(argument: str = "impro") -> ml_collections.ConfigDict:
    """The paper's recipe.

    Args:
      argument: SUBSET,model=NAME,recipe=NAME, each optional; a subset is a key of
        `TFDS_SPLITS`.

    Raises:
      ValueError: for another subset, model or recipe.
    """
    subset, _, options = argument.partition(",")
    if "=" in subset:
        subset, options = "impro", argument
    if subset not in TFDS_SPLITS:
        raise ValueError(f"no subset {subset!r}; there are {', '.join(TFDS_SPLITS)}")
    config = ml_collections.ConfigDict()

    # Which data set of data_prep.build.
    config.data_dir = "data"
    config.corpus = "iemocap"
    config.features = "mfcc"
    config.segment = 28800  # samples: 1.8 s
    config.hop = 3199  # samples: the reference's int((1.8 - 1.6) * 16000)
    config.test_hop = 3199  # of the utterances that validate and test
    config.pad_mode = "reflect"  # librosa before 0.9
    config.emotions = ()  # those kept by data_prep.build --emotions, () for all
    config.tfds_splits = TFDS_SPLITS[subset]

    # Classes, and the corpus's words for each, by the protocol's label set.
    config.classes = ml_collections.ConfigDict()
    config.classes.paper = (
        ("neutral", ("neu",)),
        ("sad", ("sad",)),
        ("angry", ("ang",)),
        ("excited", ("exc",)),
    )
    config.classes.speaker_independent = (
        ("neutral", ("neu",)),
        ("sad", ("sad",)),
        ("angry", ("ang",)),
        ("happy", ("hap", "exc")),
    )

    config.protocol = "paper"  # see glam_jax/splits
    config.num_folds = 5  # of speaker_folds
    config.split_file = ""  # of python -m glam_jax.splits, instead of the protocol's
    # Run k has seed `seed + k`. 0: each fold once (session, speaker), or one run.
    config.num_runs = 0
    config.seed = 0

    config.model = "glam"
    config.batch_size = 32
    config.num_epochs = 50
    config.optimizer = "adam"  # or sgd, with Nesterov momentum
    config.momentum = 0.9  # of sgd
    config.learning_rate = 1e-3
    config.schedule = "exp"  # or step, cosine
    config.learning_rate_decay = 0.95  # factor after each epoch (exp, step)
    config.decay_epochs = 10  # step: between two factors
    config.warmup_epochs = 0  # in which the rate rises linearly
    config.weight_decay = 1e-6  # L2, added to the gradient
    config.mixup_alpha = 0.5
    config.class_weights = False  # losses weigh by the inverse frequency of the class
    config.dtype = "float32"  # or bfloat16, of the network's inner products
    config.upsampling = False  # training utterances of rare classes are repeated

    config.parallel = "auto"  # over devices: data (one run's batches) or runs
    # The segments: resident in the devices' memory, or a stream from the records.
    config.input = "auto"  # stream where they take more than half of the memory
    config.input_workers = 0  # processes that read a stream, 0: threads
    config.runs_per_group = 0  # at once, at most; 0: as many as memory holds
    config.checkpoint_every = 5  # epochs

    recipes.apply(config, options)
    return config
