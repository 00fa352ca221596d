"""Features computed as an Apache Beam pipeline."""

import sys

import pytest
from builds import SHORT, assert_same_records, ids, only_data_set, run

from data_prep import builder
from data_prep.corpora import demo


@pytest.fixture(scope="module")
def demo_corpus(tmp_path_factory):
    """32 improvised and 16 scripted turns of the demo corpus."""
    folder = tmp_path_factory.mktemp("demo") / "corpus"
    demo.synthesise(folder, sessions=1, dialogues_per_session=3)
    return folder


BEAM = {
    "beam_runner": "DirectRunner",
    # Else DirectRunner first tries to download Prism, a runner written in Go.
    "beam_pipeline_options": "prism_location=none",
}


def test_beam_gives_the_records_of_the_local_build(demo_corpus, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: .[beam]")
    monkeypatch.setattr(builder, "_UTTERANCES_IN_FILE", 5)
    folders = []
    for name, how in (("local", {}), ("beam", BEAM)):
        settings = {"source": demo_corpus, "data_dir": tmp_path / name, **SHORT}
        _, error = run(corpus="demo", **settings, **how)
        assert error == ""
        folders.append(only_data_set(tmp_path / name))
    local, beam = folders
    assert len(ids(beam, "impro")) == 32
    assert len(list(beam.glob("*.array_record-*"))) == 7 + 4
    assert_same_records(local, beam)
    assert (beam / "summary.txt").read_text() == (local / "summary.txt").read_text()


def test_beam_refuses_bad_files_too_or_leaves_them_out(damaged, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: .[beam]")
    source, reasons = damaged
    settings = {"source": source, "data_dir": tmp_path / "data", **SHORT, **BEAM}
    _, error = run(corpus="emodb", **settings)
    assert error.startswith("error: nothing was written")
    assert not (tmp_path / "data").exists()
    _, error = run(corpus="emodb", **settings, skip_bad="true")
    assert error == ""
    folder = only_data_set(tmp_path / "data")
    assert ids(folder) == ["03a01Nc", "09a05Wb"]
    assert all(path in (folder / "left_out.csv").read_text() for path in reasons)


def test_without_apache_beam_its_installation_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    settings = {"source": tmp_path / "not looked at", "data_dir": tmp_path / "data"}
    printed, error = run(corpus="emodb", **settings, beam_runner="DirectRunner")
    assert error.startswith("error: --beam_runner=DirectRunner needs Apache Beam")
    assert error.endswith("Install it: pip install -e .[beam]")
    assert printed == ""


def test_a_runner_unknown_to_beam_is_refused_at_once(tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: .[beam]")
    settings = {"source": tmp_path / "not looked at", "data_dir": tmp_path / "data"}
    _, error = run(corpus="emodb", **settings, beam_runner="NoRunner")
    assert error.startswith("error: Unexpected pipeline runner: NoRunner.")


def test_options_of_beam_without_a_runner_are_refused(small, tmp_path):
    settings = {"source": small, "data_dir": tmp_path / "data"}
    _, error = run(corpus="emodb", **settings, beam_pipeline_options="parallelism=2")
    assert error == "error: --beam_pipeline_options needs a --beam_runner"
