r"""Measures the floor: a linear classifier of functionals, on the splits of a config.

  python -m data_prep.build --corpus=emodb --source=/path/to/emodb \
      --features=ComParE_2016
  python -m glam_jax.floor --config=configs/emodb.py --config.protocol=speaker
  python -m glam_jax.compare runs/emodb_train_glam_speaker \
      runs/emodb_train_linear_svm_ComParE_2016_speaker

openSMILE's functionals of each utterance (the extra `floor`) are computed once, when
they are prepared. They are standardised, and told apart by linear support vector
machines whose C is chosen on groups of speakers in the training fold. The folder of the
results holds the files of a training, but no network to load; its probabilities are
softmaxed margins, so that the calibration says little.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

from absl import app, flags

from data_prep import features, paths
from glam_jax import command, prepared, values

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    command.define_config()
    flags.DEFINE_enum(
        "features", features.FUNCTIONALS[0], features.FUNCTIONALS, "openSMILE's set."
    )
    flags.DEFINE_float(
        "C", None, "C of the machines (default: chosen for each split).", 0.0
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder of the results (default: runs/CORPUS_SPLITS_linear_svm_FEATURES_"
        "PROTOCOL).",
    )


def run() -> None:
    """Fits and reports what the flags say, and prints its table."""
    config, penalty = prepared.of_functionals(FLAGS.config, FLAGS.features), FLAGS.C
    values.check(config)
    from glam_jax import linear, report  # importing these takes seconds

    names = [config.corpus, *config.tfds_splits, config.model, config.features]
    names += (
        [config.protocol] if penalty is None else [config.protocol, f"C{penalty:g}"]
    )
    folder = paths.local(FLAGS.workdir or f"runs/{'_'.join(names)}", "--workdir")
    with paths.written(folder, paths.make_room("--workdir")):
        result = linear.train_and_evaluate(config, folder, penalty)
    print(f"\n{report.title(result)}\n\n{report.table(result)}\n\nAll files: {folder}")


def main(argv: list[str]) -> None:
    command.run_by_flags(argv, run)


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
