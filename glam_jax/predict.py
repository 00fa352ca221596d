r"""Tells the emotion of recordings, by a trained model. For example:

  python -m glam_jax.predict recording.wav
  python -m glam_jax.predict runs/emodb_train_glam_speaker recording.wav
  python -m glam_jax.predict MODEL recordings/ --out=predictions.csv
  python -m glam_jax.predict MODEL recording.flac --over_time --plot=pictures
  arecord -t raw -f S16_LE -r 16000 | python -m glam_jax.predict MODEL -

MODEL is the folder of a training, or an exported one: the first name, where that folder
holds model.json. Without it, it is the model that comes with this package, of which a
line on the standard error says what it was trained on. What to listen to are sound
files, folders and tables (.csv, .tsv) with a column `file`, and perhaps `start` and
`end` in seconds. A line tells the emotion and the probability of each class. Files that
cannot be read are listed at the end, and the exit status is 1. The same command goes on
with an --out that was interrupted.

'-' reads 16-bit samples, 16 kHz, mono, from the standard input, and writes a line for
each segment as it comes; the last line is that of the whole.
"""

if __name__ == "__main__":  # before the imports that take a second
    from data_prep import signals

    signals.exit_at_once()

import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import tqdm
from absl import app, flags

from data_prep import audio, features, paths, signals, text
from data_prep.corpora import table
from glam_jax import answers, command, recordings, results, shipped

FLAGS = flags.FLAGS
# How files begin that are no raw samples.
_CONTAINERS = (b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"caff")


def define_flags() -> None:
    """Defines the flags of the command, where it is run."""
    flags.DEFINE_string("run", "0", "Number of a run, or all for their mean.")
    flags.DEFINE_string("out", None, "A .csv or .jsonl file (default: printed).")
    flags.DEFINE_bool("over_time", False, "A line for each segment.")
    flags.DEFINE_string("plot", None, "Folder that receives a picture for each.")
    flags.DEFINE_string("source", None, "Folder of the files in a table.")
    flags.DEFINE_list(
        "columns", [], "What the columns of tables tell: file:path,start:from,end:to."
    )
    flags.DEFINE_bool("microphone", False, "Listens to the microphone.")


@dataclasses.dataclass(frozen=True)
class Request:
    """What to say of recordings, and where.

    Attributes:
      model: The folder of a model.
      run: The number of a run, or 'all'.
      out: The file to write, None to print.
      over_time: Whether to say it of each segment.
      pictures: A folder that receives a picture of each, if any.
    """

    model: pathlib.Path
    run: str
    out: pathlib.Path | None
    over_time: bool
    pictures: pathlib.Path | None


def predict(
    request: Request,
    named: Sequence[str],
    source: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> None:
    """Writes what the command promises.

    Args:
      request: What to say, and where.
      named: Files, folders and tables.
      source: The folder of the files in tables; None for each table's own.
      columns: The names of the tables' columns, see `table.Labels`.

    Raises:
      SystemExit: With status 1, when there were recordings that cannot be used.
    """
    found, notes, problems = recordings.find(named, source, columns)
    total = len(found) + len(problems)
    model = _load(request)
    for note in notes:
        _tell(f"passed over in {note}")
    trained = [run["sha256"] for run in model.description["runs"]]
    pictures = str(request.pictures or "")
    asked = [trained, request.run, request.over_time, pictures]
    lines = model.class_names, request.over_time
    with answers.kept(request.out, *lines, asked) as sheet:
        left = [recording for recording in found if recording.sound not in sheet.done]
        if others := sheet.done - {recording.sound for recording in found}:
            raise ValueError(
                f"{request.out} has answers for recordings that are not named now, "
                f"such as {min(others)}: name them too, delete the file, or give "
                "another --out"
            )
        if sheet.done:
            _tell(f"{request.out}: {len(found) - len(left)} recordings are there")
        show = None if request.out else True  # lines on a terminal show it too
        for recording in tqdm.tqdm(left, unit="file", disable=show):
            try:
                _answer(request, model, sheet, recording)
            except ValueError as error:
                problems.append(f"{recording.name}: {error}")
    if problems:
        _tell(f"{len(problems)} of {total} recordings cannot be used:")
        for problem in problems:
            _tell(f"  {problem}")
        sys.exit(1)


def _answer(request, model, sheet, recording: recordings.Recording) -> None:
    sound = audio.stream(recording.path, recording.start, recording.end)
    answer = model.answer(sound)
    for warning in [*sound.warnings, *model.unheard(sound)]:
        _tell(f"warning: {recording.name} {warning}")
    if request.pictures:
        _draw(request.pictures, recording, answer, model.class_names)
    told = [(0, answer.seconds)], answer.probabilities[None]
    if request.over_time:
        told = answer.times, answer.over_time
    sheet.add(recording.name, *told, key=recording.sound)


def _draw(folder: pathlib.Path, recording, answer, class_names: Sequence[str]) -> None:
    from glam_jax import figures  # importing it takes a second

    folder.mkdir(parents=True, exist_ok=True)
    figure = figures.over_time(
        recording.name,
        recordings.outline(recording, answer.seconds),
        answer.seconds,
        answer.times,
        answer.over_time,
        class_names,
    )
    figures.save(figure, folder / recordings.file_name(recording))


def listen(request: Request, name: str, blocks: Iterable[bytes]) -> None:
    """Writes a line for each segment of sound as it comes, and one for the whole.

    SIGINT ends the recording.

    Args:
      request: What to say, and where.
      name: How the lines call the sound.
      blocks: 16-bit samples, 16 kHz, mono.

    Raises:
      ValueError: When the sound is none that can be used.
    """
    model = _load(request, resumes=False)
    stream, rest = model.stream(), b""
    request = dataclasses.replace(request, over_time=True)
    written = answers.live(request.out, model.class_names, True)
    with written as sheet, signals.deferred() as is_stopped:
        for number, block in enumerate(blocks):
            if number == 0 and block.startswith(_CONTAINERS):
                raise ValueError(
                    "the standard input is a sound file, and no raw samples: give its "
                    "name, or send it through: sox FILE -t s16 -r 16000 -c 1 - (of a "
                    "microphone: arecord -t raw -f S16_LE -r 16000)"
                )
            block = rest + block
            whole = len(block) // 2 * 2
            rest = block[whole:]
            new = stream.feed(np.frombuffer(block[:whole], "<i2"))
            if len(new):
                sheet.add(name, stream.times[-len(new) :], new)
            if is_stopped():
                break
        answer = stream.end()
        sheet.add(name, [(0, answer.seconds)], answer.probabilities[None])


def from_input() -> Iterator[bytes]:
    """What comes through the standard input, as it comes."""
    while block := os.read(sys.stdin.fileno(), 1 << 15):
        yield block


def from_microphone() -> Iterator[bytes]:
    """What the microphone hears, ten times a second.

    Raises:
      ValueError: When there is no microphone, or nothing to read it by.
    """
    try:
        import sounddevice  # an extra, which needs PortAudio
    except (ImportError, OSError) as error:
        raise ValueError(
            f"--microphone: {error}; pip install -e '.[microphone]', and the system's "
            "PortAudio (Debian: libportaudio2)"
        ) from error
    try:
        with sounddevice.RawInputStream(
            features.SAMPLE_RATE, channels=1, dtype="int16"
        ) as stream:
            while True:
                yield bytes(stream.read(features.SAMPLE_RATE // 10)[0])
    except sounddevice.PortAudioError as error:
        raise ValueError(f"--microphone: {error}") from error


def _load(request: Request, resumes: bool = True):
    if request.out:
        answers.check_free(request.out, resumes)
    # Not before all that takes no time: importing it takes seconds.
    from glam_jax import recognizer

    model = recognizer.load(request.model, request.run)
    if request.model == shipped.FOLDER:
        _tell(shipped.sentence(model.description))
    return model


def _tell(line: str) -> None:
    tqdm.tqdm.write(text.printable(line), file=sys.stderr)


def model_and_sounds(named: Sequence[str]) -> tuple[pathlib.Path, Sequence[str]]:
    """The folder of a model, and what it is to listen to.

    Args:
      named: The first one is a model if it holds one; else that of the package is it.

    Raises:
      ValueError: When a later one is a model.
    """
    folders = [paths.local(name, "MODEL or FILE") for name in named]
    models = [folder for folder in folders if results.is_model(folder)]
    if not models:
        return shipped.FOLDER, named
    if models != folders[:1]:
        raise ValueError(
            f"{models[-1]} is a trained model, and nothing to listen to; one is named, "
            "and first: python -m glam_jax.predict MODEL recording.wav"
        )
    return models[0], named[1:]


def run(named: Sequence[str]) -> None:
    """Does what the flags say.

    Args:
      named: A model, or none, and what to listen to.

    Raises:
      ValueError: When the command is not understood.
    """
    model, sounds = model_and_sounds(named)
    if not sounds and not FLAGS.microphone:
        raise ValueError(
            "name files, folders, tables or '-', after a model or without one: "
            "python -m glam_jax.predict MODEL recording.wav"
        )
    request = Request(
        model=model,
        run=FLAGS.run,
        out=paths.local(FLAGS.out, "--out") if FLAGS.out else None,
        over_time=FLAGS.over_time,
        pictures=paths.local(FLAGS.plot, "--plot") if FLAGS.plot else None,
    )
    room = request.out or request.pictures or pathlib.Path()
    with paths.written(room, paths.make_room("--out" if request.out else "--plot")):
        _say(request, sounds)


def _say(request: Request, sounds: Sequence[str]) -> None:
    """Listens to the microphone, the standard input, or what is named."""
    if not (FLAGS.microphone or "-" in sounds):
        columns = table.parse_columns(FLAGS.columns)
        predict(request, sounds, FLAGS.source, columns)
    elif len(sounds) > (0 if FLAGS.microphone else 1):
        raise ValueError("'-' and --microphone are listened to alone")
    elif FLAGS.microphone:
        listen(request, "microphone", from_microphone())
    else:
        listen(request, "stdin", from_input())


def main(argv: list[str]) -> None:
    command.run(lambda: run(argv[1:]))


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=command.parse)
