"""The offline step: a corpus folder becomes TFDS records of features."""
