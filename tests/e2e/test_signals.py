"""Ctrl-C, SIGTERM and SIGHUP end a run at every moment of it, with the work that was done and without remains."""

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from tests.e2e.stage import BOUND, Running, Stage

PATIENT = "[limits]\ncancel_grace = 3600\nstop = 60"


def test_one_ctrl_c_cancels_politely_and_hands_out_the_work(stage: Stage):
    running = stage.start("[[write:half.txt|half]][[hang-politely]]").until("✓ edit")
    done = running.signal(signal.SIGINT).end()
    assert done.code == 130, done.err
    assert "cancelling; press Ctrl-C again to stop at once" in done.err
    assert "cancelled: cancelled by Ctrl-C" in done.err
    assert b"+half" in done.out


def test_one_ctrl_c_ends_an_agent_that_ignores_the_cancel_after_its_grace(stage: Stage):
    stage.write_config("[limits]\ncancel_grace = 0.2")
    done = stage.start("[[run:true]][[hang]]").until("✓ execute").signal(signal.SIGINT).end()
    assert done.code == 130, done.err
    assert "did not answer the cancel within 0.2 s" in done.err


def test_a_second_ctrl_c_stops_an_agent_that_ignores_everything_else(stage: Stage):
    stage.kind("scripted", "--ignore-eof", "--ignore-term")
    stage.write_config(PATIENT)
    running = stage.start("[[write:half.txt|half]][[hang]]").until("✓ edit")
    running.signal(signal.SIGINT).until("cancelling").signal(signal.SIGINT)
    done = running.end()
    assert done.code == 130, done.err
    assert b"+half" in done.out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_stop_at_once_and_hand_out_the_work(stage: Stage, number: signal.Signals):
    stage.write_config(PATIENT)
    running = stage.start("[[write:half.txt|half]][[hang]]").until("✓ edit")
    done = running.signal(number).end()
    assert done.code == 143, done.err
    assert b"+half" in done.out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_start_that_takes_long_is_ended(stage: Stage, number: signal.Signals, code: int):
    stage.kind("scripted", "--never-initialize", "--ignore-term")
    stage.write_config("[limits]\ninitialize = 3600\nstop = 60")
    done = stage.start("anything").until("starting the agent").signal(number).end()
    assert done.code == code, done.err
    assert done.out == b""


def test_a_signal_while_the_configuration_is_read_ends_without_a_traceback(stage: Stage):
    fifo = stage.root / "late.toml"
    os.mkfifo(fifo)
    running = stage.start("anything", config=str(fifo))
    with _opened(fifo):
        done = running.signal(signal.SIGINT).end()
    assert (done.code, done.err) == (130, "")


def test_a_signal_while_the_engine_does_not_answer_is_obeyed(stage: Stage):
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(stage.root / "engine.sock"))
        engine.listen()
        engine.settimeout(BOUND)
        env = {"DOCKER_HOST": f"unix://{stage.root}/engine.sock"}
        running = stage.start("anything", local=False, env=env)
        connection, _ = engine.accept()
        done = running.signal(signal.SIGTERM).end()
        connection.close()
    assert done.code == 143, done.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_check_is_ended_by_one_signal_and_the_work_is_handed_out(stage: Stage, number: signal.Signals, code: int):
    fifo = stage.root / "check"
    os.mkfifo(fifo)
    running = stage.start("[[write:new.txt|made]]", "--check", f"cat {fifo}")
    with _opened(fifo):
        done = running.signal(number).end()
    assert done.code == code, done.err
    assert "the check was not made, or not to its end" in done.err
    assert b"+made" in done.out


def test_signals_that_were_to_be_ignored_stay_ignored(stage: Stage):
    go = stage.root / "go"
    argv = stage.arguments(f"[[run:true]][[wait:{go}]][[say:done]]")
    running = stage.popen(["nohup", *argv]).until("✓ execute").signal(signal.SIGHUP)
    go.touch()
    assert running.end().code == 0


class _opened:  # noqa: N801 - reads as what it does
    """The writing side of a FIFO, opened once somebody reads it."""

    def __init__(self, fifo: Path) -> None:
        self._fd: list[int] = []
        self._thread = threading.Thread(target=lambda: self._fd.append(os.open(fifo, os.O_WRONLY)), daemon=True)

    def __enter__(self) -> None:
        self._thread.start()
        self._thread.join(BOUND)
        assert self._fd, "nobody opened the FIFO"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd[0])


def test_every_moment_of_a_run_bears_a_signal(stage: Stage):
    """Whatever line of its progress a run has reached, SIGTERM ends it there."""
    moments = ["UNSAFE", "starting the agent", "opening a session", "is ready", "✓ execute", "✓ edit"]
    tasks = [stage.start("[[run:true]][[write:a|b]][[hang-politely]]") for _ in moments]
    ended = [_terminated(running, words) for running, words in zip(tasks, moments, strict=True)]
    assert [done.code for done in ended] == [143] * len(moments), [done.err for done in ended]


def _terminated(running: Running, words: str):
    return running.until(words).signal(signal.SIGTERM).end()
