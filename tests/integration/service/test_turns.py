"""What a parent is told at its turns, through the facade: the roster, and each thing that happened exactly once."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import StoreError
from acp_runtime.core.model import TaskState
from acp_runtime.core.status import Status
from acp_runtime.core.turns import Form
from acp_runtime.service import Runtime
from acp_runtime.session.catalogue import AgentKind
from acp_runtime.store.store import Store
from tests.integration.manager.conftest import BOUND, PARENT, Ground, log_says, until
from tests.integration.service.conftest import Bench

TOOLS = (
    "spawn_background_subagent/list_background_subagents/send_background_subagent/poll_background_subagent/"
    "get_background_subagent_status/stop_background_subagent"
)


@pytest.fixture
async def timed(ground: Ground) -> AsyncIterator[Bench]:
    """A parent whose clock stands until it is told to go on."""
    ground.clock = ManualClock()
    async with ground.runtime() as runtime:
        yield Bench(ground, runtime)


async def turn(runtime: Runtime, number: int) -> str:
    """Return what a host that was written for the original shows in this turn."""
    found = await runtime.begin_turn(PARENT, "python", f"turn {number}", form=Form.LEGACY)
    await runtime.commit_turn(found.token)
    return found.text


@pytest.mark.requirement("P14")
async def test_the_roster_of_each_turn_has_every_field_and_is_absent_without_subagents(bench: Bench) -> None:
    assert await turn(bench.runtime, 0) == ""
    told = await bench.spawn(f"[[wait:{bench.file('go')}]]", purpose="count\nsheep")
    view = await bench.until(told["id"], lambda each: each.current_task is not None)
    text = await turn(bench.runtime, 1)
    heading, line = text.splitlines()
    assert heading == f"Open background ACP subagents you can manage with {TOOLS}:"
    head, _, task = line.partition(" current_task=")
    assert head == (
        f"- {view.name} ({view.id}) [running] agent=scripted cwd=/workspace unread={view.unread} purpose=count sheep"
    )
    assert task.startswith("[[wait:")
    bench.say_go()
    await bench.done(view.id)
    await bench.call("stop_background_subagent", id=view.id)
    await turn(bench.runtime, 2)
    assert await turn(bench.runtime, 3) == "", "an ended one is in no roster"


@pytest.mark.requirement("P14")
async def test_the_roster_stays_the_same_while_an_agent_talks(bench: Bench) -> None:
    """B8: a counter in it would cost the parent's model its prompt cache at every chunk."""
    told = await bench.spawn(f"[[updates:20]][[wait:{bench.file('go')}]][[updates:20]][[wait:{bench.file('end')}]]")
    await bench.until(told["id"], lambda each: each.current_task is not None)
    texts = []
    for number, file in enumerate(("go", "end")):
        found = await bench.runtime.begin_turn(PARENT, "python", f"turn {number}")
        texts.append(found.text)
        seq = (await bench.runtime.status(PARENT, told["id"])).seq
        bench.say_go(file)
        await bench.until(told["id"], lambda each, seq=seq: each.seq > seq)  # type: ignore[misc]
    assert texts[0] == texts[1]
    assert "[running]" in texts[0]


@pytest.mark.requirement("P15", "P16")
async def test_a_completion_stands_before_the_roster_once(bench: Bench) -> None:
    """B7: shown in the turn as often as the host renders it, and not again once it was acknowledged."""
    told = await bench.spawn("[[say:x]]")
    await bench.done(told["id"])
    first = await bench.runtime.begin_turn(PARENT, "python", "a", form=Form.LEGACY)
    again = await bench.runtime.begin_turn(PARENT, "python", "a", form=Form.LEGACY)
    assert first == again, "a host that renders a turn three times shows the same three times"
    assert first.text.startswith(
        "Background subagent updates since your last turn:\n"
        f"- {told['name']} ({told['id']}) finished its latest task.\n\nOpen background ACP subagents"
    )
    await bench.runtime.commit_turn(first.token)
    assert "updates since" not in await turn(bench.runtime, 1)


async def fill(store: Store) -> None:
    """Use what room is left. Raises what the store does then."""
    for number in range(1_000):
        await store.begin_turn("another", "python", f"fills the disk {number}")


@pytest.mark.requirement("P16")
async def test_a_full_disk_breaks_no_turn_and_what_it_held_back_is_told_later(bench: Bench) -> None:
    told = await bench.spawn("[[say:the result]]")
    await bench.done(told["id"])
    store: Store = bench.runtime._store
    (pages,) = await store.query("PRAGMA page_count")
    await store.query(f"PRAGMA max_page_count = {pages['page_count']}")
    with pytest.raises(StoreError):
        await fill(store)
    with log_says("database or disk is full") as said:
        found = await bench.runtime.begin_turn(PARENT, "python", "too late")
        await said.wait()
    assert (found.text, found.nudges) == ("", ())
    await bench.runtime.commit_turn(found.token)
    await store.query("PRAGMA max_page_count = 1000000")
    found = await bench.runtime.begin_turn(PARENT, "python", "too late")
    assert "the result" in found.text, "asked again, the same turn tells it"


@pytest.mark.requirement("P15", "P17")
async def test_idleness_and_age_end_a_subagent_with_reasons_of_their_own(timed: Bench) -> None:
    clock, runtime = timed.ground.clock, timed.runtime
    limits = replace(runtime.config.limits, idle=900.0, lifetime=7200.0)
    view = await runtime.spawn(PARENT, timed.ground.request("[[say:x]]", limits=limits))
    await until(runtime, view.id, lambda each: each.settled)
    clock.advance(899_000)
    await runtime.send(PARENT, view.id, "[[say:still here]]")
    await until(runtime, view.id, lambda each: each.settled and len(each.tasks) == 2)
    clock.advance(899_000)
    assert (await runtime.status(PARENT, view.id)).status is Status.IDLE, "activity begins the idle time anew"
    await turn(runtime, 0)
    clock.advance(1_000)
    view = await until(runtime, view.id, lambda each: each.status.over)
    assert (view.status, view.reason) == (Status.TIMED_OUT, "idle_timeout")
    other = await runtime.spawn(PARENT, timed.ground.request("[[hang-politely]]", limits=limits))
    await until(runtime, other.id, lambda each: each.current_task is not None)
    clock.advance(3_600_000 - 1)
    assert (await runtime.status(PARENT, other.id)).status is Status.RUNNING, "B6: a silent task is not idle"
    limits = replace(limits, task=None)
    third = await runtime.spawn(PARENT, timed.ground.request("[[hang-politely]]", limits=limits))
    await until(runtime, third.id, lambda each: each.current_task is not None)
    clock.advance(7_200_000)
    third = await until(runtime, third.id, lambda each: each.settled)
    assert (third.status, third.reason) == (Status.TIMED_OUT, "max_lifetime_exceeded")
    text = await turn(runtime, 1)
    assert f"- {view.name} ({view.id}) is now timed_out (idle_timeout)." in text
    assert f"- {third.name} ({third.id}) is now timed_out" in text
    assert f"({view.id})" not in await turn(runtime, 2)


@pytest.mark.requirement("P15", "P18")
async def test_the_loss_of_an_agent_fails_what_waits_for_it_and_is_told_once(ground: Ground) -> None:
    ground.clock = ManualClock()
    async with ground.runtime() as runtime:
        limits = replace(runtime.config.limits, restarts=0)
        view = await runtime.spawn(PARENT, ground.request("[[exit:3]]", limits=limits))
        view = await until(runtime, view.id, lambda each: each.status.over and each.settled)
        assert view.status is Status.ERROR, "B15: an exit is no completion, whatever its code"
        assert view.newest.state is TaskState.INTERRUPTED
        assert "exit 3" in view.cause
        text = await turn(runtime, 1)
        assert f"({view.id}) is now error" in text
        assert await turn(runtime, 2) == ""


@pytest.mark.requirement("P15")
async def test_what_breaks_the_protocol_is_told_and_what_the_parent_did_is_not(bench: Bench) -> None:
    argv = bench.ground.kinds["scripted"].argv
    bench.ground.kinds["mute"] = AgentKind("mute", (*argv, "--no-session-id"))
    limits = replace(bench.runtime.config.limits, restarts=0)
    view = await bench.runtime.spawn(PARENT, bench.ground.request("x", agent="mute", limits=limits))
    view = await bench.until(view.id, lambda each: each.status.over and each.settled)
    assert view.error_kind == "protocol_error"
    assert "did not return a session id" in view.cause
    assert f"({view.id}) is now error" in await turn(bench.runtime, 1)
    told = await bench.spawn("[[hang-politely]]")
    await bench.until(told["id"], lambda each: each.current_task is not None)
    await bench.call("stop_background_subagent", id=told["id"])
    assert await turn(bench.runtime, 2) == ""


@pytest.mark.requirement("P19")
async def test_what_an_agent_asks_beyond_the_protocol_is_refused_and_it_goes_on(bench: Bench) -> None:
    told = await bench.spawn("[[request:fs/read_text_file]][[request:terminal/create]]")
    found = await bench.done(told["id"])
    assert found["result"]["text"] == "fs/read_text_file -> -32601terminal/create -> -32601"


@pytest.mark.requirement("P20")
async def test_noise_on_either_stream_costs_nothing_and_is_kept_for_diagnosis(bench: Bench) -> None:
    """B11: one line that is no JSON killed the original's agent."""
    told = await bench.spawn("[[raw:npm notice]][[rawhex:ff00]][[stderr:200]][[say:fine]][[stop:max_tokens]]")
    found = await bench.done(told["id"])
    assert found["result"]["text"] == "fine"
    view = await bench.runtime.status(PARENT, told["id"])
    assert "stderr noise" in view.newest.stderr_tail


async def test_a_late_word_wakes_no_idle_agent_up(bench: Bench) -> None:
    """B4: the original took any late update for work, and waited for ever."""
    told = await bench.spawn(f"[[say:done]][[late:too late|{bench.file('go')}]]")
    await bench.done(told["id"])
    seq = (await bench.runtime.status(PARENT, told["id"])).seq
    bench.say_go()
    view = await bench.until(told["id"], lambda each: each.seq > seq)
    assert view.status is Status.IDLE
    assert view.newest.result == "done"


async def test_an_error_of_one_prompt_leaves_the_agent_and_its_queue(bench: Bench) -> None:
    """B12: one 429 killed the original's agent and dropped what waited."""
    told = await bench.spawn(f"[[wait:{bench.file('go')}]][[error:-32000|invalid request]]")
    await bench.call("send_background_subagent", id=told["id"], message="[[say:next]]")
    bench.say_go()
    found = await bench.done(told["id"])
    assert (found["status"], found["result"]["text"]) == ("idle", "next")


async def test_one_agent_that_reads_nothing_holds_nobody_up(bench: Bench) -> None:
    """B1: a full pipe to one agent froze the original for all of them."""
    stuck = await bench.spawn("[[hang]]")
    await bench.until(stuck["id"], lambda each: each.current_task is not None)
    await bench.call("send_background_subagent", id=stuck["id"], message="x" * 900_000)
    async with asyncio.timeout(BOUND):
        told = await bench.spawn("[[say:x]]")
        await bench.done(told["id"])
        assert len((await bench.call("list_background_subagents"))["subagents"]) == 2
        assert stuck["id"] in (await bench.runtime.begin_turn(PARENT, "python", "1")).text
        stopped = await bench.call("stop_background_subagent", id=stuck["id"])
    assert stopped["status"] == "stopped"
