"""What the local page shows, in a browser; the only importer of gradio."""

import base64
import contextlib
import html
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr
import numpy as np
from starlette.middleware import Middleware, trustedhost

from data_prep import audio, features, text
from glam_jax import cells, figures, recordings, results
from glam_jax.recognizer import Answer, Recognizer

HOST = "127.0.0.1"
MINUTES = 10  # of a recording, at most
MEGABYTES = 300  # of its file
LISTED = 200  # utterances of a cell
NARROW = 640  # pixels: below, a picture is the narrower of two; also in the style

_CSS = """
.gradio-container { width: 100%; max-width: 1000px !important; }
.gradio-container { margin: 0 auto !important; min-width: 0; }
.gradio-container :is(.main, .wrap, main) { width: 100%; min-width: 0; }
.scrolled { overflow-x: auto; }
.scrolled :is(table, tr, th, td) { border: none; }
.scrolled tr { border-bottom: 1px solid rgb(128 128 128 / 30%) !important; }
.scrolled :is(th, td) { padding: 2px 6px; text-align: right; }
.scrolled :is(th, td):first-child { text-align: left; }
.scrolled button { cursor: pointer; font: inherit; color: inherit; }
.scrolled button:focus-visible { outline: 3px solid #D55E00; }
.matrix td { padding: 1px; }
.matrix button { width: 100%; min-width: 60px; padding: 8px 4px; border-radius: 4px; }
.matrix small { display: block; color: inherit; }
.utterances .taken { font-weight: 700; }
.utterances td { white-space: nowrap; font-variant-numeric: tabular-nums; }
.utterances button { padding: 4px 0; background: none; text-decoration: underline; }
@media (max-width: 640px) {
  .scrolled { font-size: 12px; }
  .scrolled :is(th, td) { padding: 1px 3px; }
  .matrix button { min-width: 36px; padding: 6px 1px; }
}
.over-time img { width: 100%; max-width: 900px; }
"""
# What was clicked is told by its button.
_CLICKED = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-clicked]');
  if (button) trigger('click', JSON.parse(button.dataset.clicked));
});
"""


@contextlib.contextmanager
def opened(
    model: Recognizer,
    training: results.Training | None,
    corpus: cells.Corpus | None,
) -> Iterator[str]:
    """While it is open, this machine's browsers see the page; gives its address.

    Args:
      model: It tells the emotions.
      training: What the second tab looks into; None for no such tab.
      corpus: The recordings of its utterances; None where they are not at hand.
    """
    # Compiled now, and not for the first visitor.
    model.probabilities(np.random.default_rng(0).normal(0, 0.1, features.SAMPLE_RATE))
    blocks = build(model, training, corpus)
    _, address, _ = blocks.launch(
        server_name=HOST,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        allowed_paths=[],
        max_file_size=MEGABYTES * gr.FileSize.MB,
        theme=gr.themes.Base(font="sans-serif", font_mono="monospace"),
        css=_CSS,
        # A site whose name leads here is none of ours.
        app_kwargs={
            "middleware": [
                Middleware(
                    trustedhost.TrustedHostMiddleware,
                    allowed_hosts=[HOST, "localhost"],
                )
            ]
        },
    )
    try:
        yield address
    finally:
        blocks.close(verbose=False)


def build(
    model: Recognizer,
    training: results.Training | None,
    corpus: cells.Corpus | None,
) -> gr.Blocks:
    """The page; see `opened`."""
    with gr.Blocks(title="glam_jax", analytics_enabled=False) as blocks:
        gr.HTML(f"<h1>Emotion of speech</h1><p>{_escaped(_about(model))}</p>")
        with gr.Tab("A recording"):
            _add_recording(model)
        if training:
            with gr.Tab("The training"):
                _add_training(training, corpus)
    return blocks


def _about(model: Recognizer) -> str:
    told = model.description
    classes = ", ".join(model.class_names)
    return f"{told['model']}, trained on {told['corpus']}, tells apart: {classes}."


def _add_recording(model: Recognizer) -> None:
    """The tab that hears a recording and tells its emotion."""
    sound = gr.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        editable=False,
        buttons=[],
        label=f"Drop a recording, or record one (at most {MINUTES} minutes)",
        elem_id="sound",
    )
    told = gr.HTML(elem_id="told")
    emotion = gr.Label(label="Emotion", visible=False, elem_id="emotion")
    picture = gr.HTML(elem_id="picture")

    def tell(path: str | None) -> Iterator[tuple[str, Any, str]]:
        without = gr.Label(visible=False), ""
        yield (_paragraph("Listening ..." if path else ""), *without)
        if path is None:
            return
        try:
            answer, outline, warnings = listen(model, pathlib.Path(path))
        except ValueError as error:
            yield (_paragraph(f"This recording cannot be used: {error}"), *without)
            return
        said = "".join(_paragraph(f"Warning: it {warning}.") for warning in warnings)
        names = map(text.printable, model.class_names)
        pairs = zip(names, answer.probabilities.tolist(), strict=True)
        drawn = _picture(pathlib.Path(path).name, answer, outline, model.class_names)
        yield said, gr.Label(dict(pairs), visible=True), drawn

    sound.change(
        tell,
        sound,
        [told, emotion, picture],
        show_progress="hidden",
        api_visibility="private",
    )


def listen(
    model: Recognizer, path: pathlib.Path
) -> tuple[Answer, np.ndarray, Sequence[str]]:
    """What a model says of a recording, its outline, and what is suspicious about it.

    Args:
      model: The model.
      path: The file.

    Raises:
      ValueError: When it is no sound, or too long.
    """
    samples = 0
    for block in audio.stream(path):
        samples += len(block)
        if samples > MINUTES * 60 * features.SAMPLE_RATE:
            raise ValueError(f"it is longer than {MINUTES} minutes")
    sound = audio.stream(path)
    answer = model.answer(sound)
    recording = recordings.Recording(path.name, path)
    outline = recordings.outline(recording, answer.seconds)
    return answer, outline, [*sound.warnings, *model.unheard(sound)]


def _picture(
    name: str, answer: Answer, outline: np.ndarray, class_names: Sequence[str]
) -> str:
    """Emotion over time, as wide as a page or as a column by the window's width."""
    wide, narrow = (
        base64.b64encode(
            figures.png(
                figures.over_time(
                    name,
                    outline,
                    answer.seconds,
                    answer.times,
                    answer.over_time,
                    class_names,
                    width,
                )
            )
        ).decode()
        for width in (figures.PAGE, figures.COLUMN)
    )
    return (
        '<picture class="over-time">'
        f'<source media="(max-width: {NARROW}px)" '
        f'srcset="data:image/png;base64,{narrow}">'
        '<img alt="waveform, and the probability of each emotion over time" '
        f'src="data:image/png;base64,{wide}"></picture>'
    )


def _add_training(training: results.Training, corpus: cells.Corpus | None) -> None:
    """The tab that shows what was taken for what."""
    report = training.report
    matrix = gr.HTML(matrix_table(training), js_on_load=_CLICKED, elem_id="matrix")
    told = gr.HTML(elem_id="heard")
    player = gr.Audio(
        label="Utterance",
        visible=False,
        interactive=False,
        autoplay=True,
        buttons=[],
        elem_id="player",
    )
    utterances = gr.HTML(js_on_load=_CLICKED, elem_id="utterances")

    def show(event: gr.EventData) -> tuple[str, str, Any]:
        cell = _numbers(event, ("true", "predicted"), len(report["classes"]))
        table = cell_table(training, *cell, audible=corpus is not None)
        return table, "", gr.Audio(None, visible=False)

    def play(event: gr.EventData) -> tuple[str, Any]:
        (place,) = _numbers(event, ("place",), len(training.utterances))
        utterance = str(training.utterances[place])
        if corpus is None:
            return "", gr.Audio(None, visible=False)
        try:
            wave = corpus.read(utterance)
        except ValueError as error:
            return _paragraph(f"{error}."), gr.Audio(None, visible=False)
        scaled = np.round(wave.clip(-1, 1) * 32767).astype(np.int16)
        label = text.printable(utterance)
        sound = (features.SAMPLE_RATE, scaled)
        return "", gr.Audio(sound, label=label, visible=True)

    matrix.click(show, None, [utterances, told, player], api_visibility="private")
    utterances.click(play, None, [told, player], api_visibility="private")


def _numbers(event: gr.EventData, names: Sequence[str], below: int) -> list[int]:
    """Numbers that a browser sent, each checked: it may send anything."""
    sent = event._data if isinstance(event._data, dict) else {}
    numbers: list[Any] = [sent.get(name) for name in names]
    checked = [n for n in numbers if type(n) is int and 0 <= n < below]
    if len(checked) < len(names):
        raise gr.Error("this cannot be clicked", print_exception=False)
    return checked


def matrix_table(training: results.Training) -> str:
    """The confusion matrix, whose cells can be clicked, as HTML."""
    names = [_escaped(name) for name in training.report["classes"]]
    matrix = np.zeros((len(names), len(names)), int)
    np.add.at(matrix, (training.labels, training.probabilities.argmax(axis=1)), 1)
    percent = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows = []
    for i, name in enumerate(names):
        row = ""
        for j, other in enumerate(names):
            share = percent[i, j]
            row += (
                f"<td>{_button({'true': i, 'predicted': j})} "
                f'aria-label="{name} taken for {other}: {matrix[i, j]}" '
                f'style="color: {"white" if share > 90 else "black"}; '  # 4 to 1
                f"background: color-mix(in srgb, {figures.COLORS[0]} {share:.0f}%, "
                f'white)">{matrix[i, j]}<small>{share:.0f} %</small></button></td>'
            )
        rows.append(f"<tr><th>{name}</th>{row}</tr>")
    header = "".join(f"<th>{name}</th>" for name in names)
    report = training.report
    subject = f"{results.subject(report)}; {results.SELECTIONS[report['selection']]}"
    count = f"test utterances: {matrix.sum()}"
    return (
        f"{_paragraph(f'{subject}; {count}. A click on a cell lists those in it.')}"
        '<div class="scrolled matrix"><table>'
        f"<tr><th>true ↓ taken for →</th>{header}</tr>{''.join(rows)}</table></div>"
    )


def cell_table(
    training: results.Training, true: int, predicted: int, audible: bool
) -> str:
    """The utterances of a cell, the most confident first, as HTML.

    Args:
      training: The training.
      true: The number of the true class.
      predicted: That of the class it was taken for.
      audible: Whether a click on one can play it.
    """
    names = [_escaped(name) for name in training.report["classes"]]
    found = cells.places(training, true, predicted)
    what = f"{names[true]} taken for {names[predicted]}"
    if not len(found):
        return f"<h3>{what}: none</h3>"
    few = f", the first {LISTED} of them" if len(found) > LISTED else ""
    several = len(np.unique(training.runs)) > 1
    header = ["utterance", "speaker", *(["run"] if several else []), *names]
    rows = []
    for place in found[:LISTED].tolist():
        id_ = str(training.utterances[place])
        shown = _escaped(id_)
        if audible:
            label = f'aria-label="play {shown}"'
            shown = f"{_button({'place': place})} {label}>▶ {shown}</button>"
        row = [shown, _escaped(training.groups[id_]["speaker"])]
        row += [str(training.runs[place])] if several else []
        tds = "".join(f"<td>{cell}</td>" for cell in row)
        for number, p in enumerate(training.probabilities[place]):
            bold = ' class="taken"' if number == predicted else ""
            tds += f"<td{bold}>{p:.3f}</td>"
        rows.append(f"<tr>{tds}</tr>")
    hint = (
        ""
        if audible
        else _paragraph("Start the command with --corpus_source=FOLDER to hear them.")
    )
    return (
        f"<h3>{what}: {len(found)}, the most confident first{few}</h3>{hint}"
        '<div class="scrolled utterances"><table>'
        f"<tr>{''.join(f'<th>{name}</th>' for name in header)}</tr>"
        f"{''.join(rows)}</table></div>"
    )


def _button(clicked: dict[str, int]) -> str:
    """The begin of a button that tells what was clicked."""
    return f'<button type="button" data-clicked="{html.escape(json.dumps(clicked))}"'


def _paragraph(sentence: str) -> str:
    return f"<p>{_escaped(sentence)}</p>"


def _escaped(words: str) -> str:
    return html.escape(text.printable(words))
