"""Undoing: what is ours goes, what is not stays, and harm is refused before it is done."""

import os
import subprocess

import pytest
from hostsetup import remove as removing
from hostsetup.daemon import Host
from hostsetup.endpoint import Endpoint
from hostsetup.record import Record, Started
from hostsetup.talk import Stop

from tests.integration.hostsetup.peers import BOUND, ScriptedEngine, at, listening

OURS = "io.acp-subagents.role"
FORGED = "x-io.acp-subagents.role"


@pytest.fixture
def engine(tmp_path):
    with listening(tmp_path / "docker.sock", ScriptedEngine()) as engine:
        engine.add("images", "acp-subagents/base:1")
        engine.add("images", "sha256:labelled", OURS)
        engine.add("volumes", "agents/2", OURS)
        engine.add("containers", "crashed", OURS)
        yield engine


@pytest.fixture
def undo(tmp_path, monkeypatch):
    """`make engine-remove` on a machine whose default socket is the scripted engine's."""
    monkeypatch.setattr("hostsetup.remove.default_endpoint", lambda: at(tmp_path / "docker.sock"))
    record = Record(tmp_path / "state")
    elsewhere = Endpoint(f"unix://{tmp_path / 'elsewhere'}", "DOCKER_HOST", chosen=True)

    def run(*, chosen=None, started=None):
        if started:
            record.make_folder()
            record.set_started(Started(started.pid, Host().start_ticks(started.pid), Host().boot_id()))
        target = {"default": at(tmp_path / "docker.sock"), "elsewhere": elsewhere}[chosen or "default"]
        removing.remove(record, target, os.environ, Host())

    run.record = record
    return run


@pytest.fixture
def started():
    process = subprocess.Popen(["/bin/sleep", "1000"])
    yield process
    process.kill()
    process.wait(BOUND)


def test_our_objects_go_and_those_of_others_stay(engine, undo):
    engine.add("images", "registry/acp-subagents/base")
    engine.add("volumes", "data", FORGED)
    engine.add("containers", "web", "com.example.io.acp-subagents.role", state="running")
    undo()
    assert engine.names() == {"registry/acp-subagents/base", "data", "web"}


def test_a_running_sandbox_stops_it_before_anything_is_removed(engine, undo):
    engine.add("containers", "busy", OURS, state="running")
    before = engine.names()
    with pytest.raises(Stop, match=r"Nothing was removed, because sandboxes of this project run.*\(busy\)"):
        undo()
    assert engine.names() == before


def test_a_container_of_others_keeps_the_engine_that_we_started(engine, undo, started):
    engine.add("containers", "web", state="running")
    before = engine.names()
    with pytest.raises(Stop, match=r"which would stop: end them first \(web\)"):
        undo(started=started)
    assert engine.names() == before
    assert started.poll() is None


def test_the_engine_that_we_started_ends_and_the_note_goes(engine, undo, started):
    undo(started=started)
    assert started.wait(BOUND) == -15
    assert engine.names() == set()
    assert not undo.record.folder.exists()


def test_what_we_set_up_is_undone_on_this_machine_whatever_is_chosen_today(engine, undo, started):
    undo(started=started, chosen="elsewhere")
    assert engine.names() == set()
    assert started.wait(BOUND) == -15


def test_an_engine_that_was_here_before_is_left_alone(engine, undo, capsys):
    undo()
    assert "neither installed nor started by make engine" in capsys.readouterr().err


def test_files_of_others_in_the_state_folder_stay(engine, undo, started):
    undo.record.make_folder()
    (undo.record.folder / "notes.txt").touch()
    undo(started=started)
    assert [path.name for path in undo.record.folder.iterdir()] == ["notes.txt"]
