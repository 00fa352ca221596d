r"""Shows a trained model in the browser of this machine. For example:

  python -m glam_jax.serve runs/emodb_train_glam_speaker
  python -m glam_jax.serve MODEL --corpus_source=/path/to/emodb

MODEL is the folder of a training. The page records or takes a recording, and shows its
emotion over time. Its second tab looks into the training: a click on a cell of the
confusion matrix lists the utterances in it, with --corpus_source to be heard. Only this
machine can open it (127.0.0.1), it loads nothing from elsewhere and tells nobody; what
is recorded is deleted at the end. It needs gradio: pip install -e '.[page]'.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import contextlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator, Sequence

from absl import app, flags

from data_prep import paths, signals
from glam_jax import cells, command, results

FLAGS = flags.FLAGS


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    flags.DEFINE_string("run", "0", "Number of a run, or all for their mean.")
    flags.DEFINE_string(
        "corpus_source", None, "Folder of the corpus, to hear its utterances."
    )


def serve(named: Sequence[str]) -> None:
    """Shows the page until a signal comes.

    Args:
      named: A model.

    Raises:
      ValueError: When there is no such model or corpus, or gradio is missing.
    """
    if len(named) != 1:
        raise ValueError("name one model: python -m glam_jax.serve MODEL")
    folder = paths.local(named[0], "MODEL")
    training = corpus = None
    if (folder / results.REPORT).is_file():
        training = results.read(folder)
    if FLAGS.corpus_source:
        if training is None:
            raise ValueError(
                f"--corpus_source: {folder} holds no finished training (no "
                f"{results.REPORT}) whose utterances could be heard"
            )
        source = paths.local(FLAGS.corpus_source, "--corpus_source")
        corpus = cells.Corpus(source, training.groups)
    if importlib.util.find_spec("gradio") is None:  # an extra
        raise ValueError("the page needs gradio: pip install -e '.[page]'")
    with _kept_here(), signals.deferred() as is_stopped:
        # Not before all that takes no time: importing them takes seconds.
        from glam_jax import recognizer

        model = recognizer.load(folder, FLAGS.run)
        from glam_jax import page

        with page.opened(model, training, corpus) as address:
            print(f"{address} shows {folder}; Ctrl-C ends it.", flush=True)
            while not is_stopped():
                time.sleep(0.1)


@contextlib.contextmanager
def _kept_here() -> Iterator[None]:
    """While it is open, gradio tells nobody, and has a folder that is deleted then.

    It reads all this when it is imported.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # It asks its own server whether it is there: not by way of a proxy.
    around = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"{around},127.0.0.1".strip(",")
    with tempfile.TemporaryDirectory(prefix="glam_jax_page_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield


def main(argv: list[str]) -> None:
    command.run(lambda: serve(argv[1:]))


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
