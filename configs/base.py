r"""All fields of a config, once, with GLAM's recipe (Zhu & Li 2022, section 4).

A config of one's own is a file with a function `get_config`, which changes what this
one gives:

  from configs import base

  def get_config(options=""):
      config = base.get_config(options)
      config.corpus = "emodb"
      config.classes = "neutral=neutral sad=sadness angry=anger happy=happiness"
      return config

Every command takes it as --config=my_config.py, or with an argument after a colon:

  --config=my_config.py:model=mhcnn                another model, its published recipe
  --config=my_config.py:model=mhcnn,recipe=glam    another model, GLAM's recipe
  --config=my_config.py:model=my_module:MyNet      a network of one's own, GLAM's recipe
"""

import ml_collections

from glam_jax import models


def get_config(options: str = "") -> ml_collections.ConfigDict:
    """GLAM's recipe, for a corpus that is still to be named.

    Args:
      options: See `choose_model`.
    """
    config = ml_collections.ConfigDict()

    # Which data set of data_prep.build.
    config.data_dir = "data"
    config.corpus = ""
    config.features = "mfcc"  # or package.module:function of one's own
    config.segment = 28800  # samples: 1.8 s
    config.hop = 3199  # samples: the reference's int((1.8 - 1.6) * 16000)
    config.test_hop = 3199  # of the utterances that validate and test
    config.pad_mode = "reflect"  # librosa before 0.9
    config.emotions = ()  # those kept by data_prep.build --emotions, () for all
    config.tfds_splits = ("train",)

    # Each class and the corpus's words for it, as "sad=sad happy=hap,exc". Where it is
    # empty, the protocol says which of the two label sets counts.
    config.classes = ""
    config.label_sets = ml_collections.ConfigDict()
    config.label_sets.paper = ""
    config.label_sets.speaker_independent = ""

    config.protocol = "paper"  # see glam_jax/splits
    config.num_folds = 5  # of speaker_folds
    config.split_file = ""  # of python -m glam_jax.split, instead of the protocol's
    # Run k has seed `seed + k`. 0: each fold once (session, speaker), or one run.
    config.num_runs = 0
    config.seed = 0

    config.model = "glam"  # or package.module:Class of one's own
    config.batch_size = 32
    config.num_epochs = 50
    config.optimizer = "adam"  # or adamw; or sgd, with Nesterov momentum
    config.momentum = 0.9  # of sgd
    config.learning_rate = 1e-3
    config.schedule = "exp"  # or step, cosine
    config.learning_rate_decay = 0.95  # factor after each epoch (exp, step)
    config.decay_epochs = 10  # step: between two factors
    config.warmup_epochs = 0  # in which the rate rises linearly
    config.weight_decay = 1e-6  # L2, added to the gradient; adamw: to the update
    config.ema = 0.0  # decay of averaged weights, which are evaluated; 0: the last ones
    config.mixup_alpha = 0.5  # of features, also of those that a frontend computes
    config.label_smoothing = 0.0  # share of a label that all classes have alike
    config.class_weights = False  # losses weigh by the inverse frequency of the class
    config.dtype = "float32"  # or bfloat16, of the network's inner products
    config.upsampling = False  # training utterances of rare classes are repeated

    # What is done to segments before any network (glam_jax/models/inputs.py).
    config.frontend = ""  # of features="waveform": mfcc, mfcc_pitch, ...
    config.short = "repeat"  # fills up short utterances; or silence (waveforms)
    # Each coefficient: none, or by a fold's training; or speaker: by all recordings of
    # the same speaker, which is transductive and of features in the records alone.
    config.normalise = "none"
    config.augment = ml_collections.ConfigDict()  # in training, each example by itself
    config.augment.shift = False  # begins anywhere, the start follows the end
    config.augment.speed = 0.0  # largest change: 0.1 is 0.9 to 1.1 (waveforms)
    config.augment.gain = 0.0  # largest change of level in dB (waveforms)
    config.augment.noise = 0.0  # share with white noise at 10 to 40 dB (waveforms)
    config.augment.warp = 0.0  # largest stretch of the mel axis (VTLP)
    config.augment.masks = 0  # of frequency, and of time (SpecAugment)

    config.parallel = "auto"  # over devices: data (one run's batches) or runs
    # The segments: resident in the devices' memory, or a stream from the records.
    config.input = "auto"  # stream where they take more than half of the memory
    config.input_workers = 0  # processes that read a stream, 0: threads
    config.runs_per_group = 0  # at once, at most; 0: as many as memory holds
    config.checkpoint_every = 5  # epochs

    choose_model(config, options)
    return config


def choose_model(config: ml_collections.ConfigDict, options: str) -> None:
    """Changes a config with GLAM's recipe to another model or recipe.

    Args:
      config: The config, which is changed.
      options: 'model=NAME,recipe=NAME', each optional. A recipe is named by the model
        that it was published with, and is the model's own by default.

    Raises:
      ValueError: For another option, model or recipe.
    """
    chosen = {"model": config.model}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key not in ("model", "recipe"):
            raise ValueError(f"no option {option!r}; there are model=NAME, recipe=NAME")
        models.row(value)
        chosen[key] = value
    config.model = chosen["model"]
    recipe = models.row(chosen.get("recipe", config.model)).recipe
    config.update_from_flattened_dict(recipe)
