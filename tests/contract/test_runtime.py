"""What a parent is promised, whichever launcher runs the agent."""

import os
from contextlib import suppress

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.model import Limits, Permissions, TaskState, Verdict
from acp_runtime.core.status import Status
from acp_runtime.session.catalogue import AgentKind
from tests.contract.conftest import PARENT, Place, apply_patch, git

pytestmark = pytest.mark.filterwarnings("error")


async def test_an_agent_does_its_task_and_hands_its_work_back(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[write:new.txt|made here]][[say:I am done.]]")
        assert (view.newest.state, view.newest.verdict) == (TaskState.COMPLETED, Verdict.FULL), view.newest.cause
        assert view.newest.result == "I am done."
        assert view.newest.files_changed == 1
        assert view.status is Status.IDLE
        os.kill(view.pid or 0, 0)  # it is there, and this machine is the engine's
        checked = await runtime.check(PARENT, view.id, "cat new.txt greeting.txt; exit 3", seconds=30)
        assert (checked.exit_code, checked.output) == (3, "made herehello\n")
        ended = await runtime.stop(PARENT, view.id, finished=True)
        work = await runtime.work(PARENT, view.id)
    assert ended.status is Status.COMPLETED
    assert work is not None
    assert not (place.workspace / "new.txt").exists(), "the agent worked on the host's folder itself"
    apply_patch(place.workspace, work.patch)
    assert (place.workspace / "new.txt").read_text() == "made here"


async def test_what_a_check_leaves_behind_is_no_part_of_the_work(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[write:new.txt|made here]][[say:done]]")
        await runtime.check(PARENT, view.id, "echo x > left-by-the-check.txt", seconds=30)
        await runtime.stop(PARENT, view.id, finished=True)
        work = await runtime.work(PARENT, view.id)
        assert work is not None
        assert b"new.txt" in work.patch
        assert b"left-by-the-check" not in work.patch
        again = await place.do(runtime, "[[write:new.txt|made here]][[say:done]]")
        await runtime.check(PARENT, again.id, "echo x > left-by-the-check.txt", seconds=30)
        await runtime.send(PARENT, again.id, "[[write:second.txt|x]][[say:more]]")
        await place.ended(runtime, again.id)
        await runtime.stop(PARENT, again.id, finished=True)
        work = await runtime.work(PARENT, again.id)
        assert work is not None
        assert b"second.txt" in work.patch, "work after a check is exported too"


async def test_a_parent_sees_the_roster_and_is_told_once(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request("[[wait:go]][[say:finished]]", purpose="count sheep"))
        await place.until(runtime, view.id, lambda each: each.newest.state is TaskState.RUNNING)
        async with runtime.turn(PARENT) as turn:
            assert f"({view.id}) [running]" in turn.text
            assert 'purpose="count sheep"' in turn.text
            assert turn.nudges == ()
        await runtime.cancel(PARENT, view.id)
        await place.ended(runtime, view.id)
        await runtime.send(PARENT, view.id, "[[say:second answer]]")
        await place.ended(runtime, view.id)
        with suppress(ZeroDivisionError):
            async with runtime.turn(PARENT) as turn:
                assert "second answer" in turn.text
                raise ZeroDivisionError
        async with runtime.turn(PARENT) as again:
            assert again.nudges == turn.nudges
            assert len(again.nudges) == 1, "the parent cancelled the first task itself: that is no nudge"
        async with runtime.turn(PARENT) as after:
            assert after.nudges == ()


async def test_an_agent_that_never_initializes_is_given_up_at_its_deadline(place: Place) -> None:
    place.clock = ManualClock()
    place.kind("mute", "--never-initialize")
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request("anything", agent="mute"))
        await place.until(runtime, view.id, lambda each: each.step == "initialize")
        place.clock.advance(30_000)
        view = await place.until(runtime, view.id, lambda each: each.status is Status.TIMED_OUT)
        assert view.newest.state is TaskState.TIMED_OUT
        assert "initialize within 30 s" in view.newest.cause


async def test_a_program_that_is_not_there_is_told_by_name(place: Place) -> None:
    place.add_kind(AgentKind("ghost", ("no-such-agent", "acp")))
    async with place.runtime() as runtime:
        view = await place.do(runtime, "anything", agent="ghost")
        assert view.newest.state is TaskState.FAILED
        assert "no-such-agent" in view.newest.cause
        assert "could not be executed" in view.newest.cause


async def test_an_agent_killed_in_mid_task_leaves_an_unknown_outcome_and_its_work(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[write:half.txt|half]][[kill]]", limits=Limits(restarts=0))
        assert view.newest.state is TaskState.INTERRUPTED
        assert "the outcome is unknown" in view.newest.cause
        view = await place.until(runtime, view.id, lambda each: each.status is Status.ERROR)
        await runtime.stop(PARENT, view.id)
        async with runtime.turn(PARENT) as turn:
            assert len(turn.nudges) == 1
            assert "interrupted" in turn.text
        work = await runtime.work(PARENT, view.id)
        assert work is not None
        assert b"half.txt" in work.patch


async def test_a_task_over_its_deadline_is_cancelled_and_the_agent_stays(place: Place) -> None:
    place.clock = ManualClock()
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request("[[hang-politely]]"))
        await place.until(runtime, view.id, lambda each: each.newest.state is TaskState.RUNNING)
        place.clock.advance(3_600_000)
        view = await place.ended(runtime, view.id)
        assert view.newest.state is TaskState.TIMED_OUT
        assert view.status is Status.IDLE
        await runtime.send(PARENT, view.id, "[[say:still here]]")
        assert (await place.ended(runtime, view.id)).newest.result == "still here"


async def test_a_cancel_in_mid_task_is_a_notification_that_the_agent_obeys(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request("[[say:begun]][[hang-politely]]"))
        await place.until(runtime, view.id, lambda each: each.newest.result == "begun")
        await runtime.cancel(PARENT, view.id)
        view = await place.ended(runtime, view.id)
        assert (view.newest.state, view.newest.stop_reason) == (TaskState.CANCELLED, "cancelled")
        assert view.status is Status.IDLE


async def test_an_agent_that_ignores_a_cancel_is_ended(place: Place) -> None:
    place.clock = ManualClock()
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request("[[say:begun]][[hang]]", limits=Limits(restarts=0)))
        await place.until(runtime, view.id, lambda each: each.newest.result == "begun")
        await runtime.cancel(PARENT, view.id)
        place.clock.advance(5_000)
        view = await place.until(runtime, view.id, lambda each: each.status is Status.ERROR)
        assert view.newest.state is TaskState.CANCELLED
        assert view.reason == "cancel_ignored"


@pytest.mark.parametrize("line", ["null", "[]", '"x"', "1", "npm notice: a new version", '{"jsonrpc":"2.0"}'])
async def test_noise_on_stdout_harms_nothing(place: Place, line: str) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, f"[[raw:{line}]][[say:fine]]")
        assert (view.newest.state, view.newest.verdict) == (TaskState.COMPLETED, Verdict.FULL)
        assert view.newest.result == "fine"


async def test_a_response_hidden_in_a_giant_line_fails_its_task_and_the_agent_stays(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[bigresponse:20000000]]")
        assert view.newest.state is TaskState.FAILED
        assert "over the cap" in view.newest.cause
        await runtime.send(PARENT, view.id, "[[say:next]]")
        assert (await place.ended(runtime, view.id)).newest.result == "next"


async def test_a_giant_update_makes_the_completion_suspect(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[bigline:20000000]][[say:done]]")
        assert (view.newest.state, view.newest.verdict) == (TaskState.COMPLETED, Verdict.SUSPECT)
        assert "size limit" in view.newest.cause


async def test_twenty_thousand_updates_arrive_in_order(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[updates:20000]]")
        text, since = "", 0
        while rows := await runtime.events(PARENT, view.id, since=since):
            text += "".join(getattr(getattr(row.event, "entry", None), "text", "") for row in rows)
            since = rows[-1].seq
        assert text == "".join(f"{number}\n" for number in range(20_000))


async def test_two_megabytes_of_stderr_block_nobody_and_the_tail_is_kept(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[stderr:2000000]][[say:quiet now]]")
        assert view.newest.state is TaskState.COMPLETED
        assert 0 < len(view.newest.stderr_tail) <= 2_000


@pytest.mark.parametrize(
    ("policy", "kinds", "said"),
    [
        (Permissions.ALLOW, "reject_once,allow_always", "chose opt-1"),
        (Permissions.ALLOW, "allow_always,allow_once", "chose opt-1"),
        (Permissions.DENY, "allow_once,reject_always", "chose opt-1"),
    ],
)
async def test_permissions_are_answered_from_what_was_offered(
    place: Place, policy: Permissions, kinds: str, said: str
) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, f"[[ask:{kinds}]]", permissions=policy)
        assert said in view.newest.result


async def test_a_question_without_a_fitting_option_waits_for_an_answer(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[ask:reject_once]][[say:told]]")
        assert view.status is Status.WAITING
        await runtime.answer(PARENT, view.id, view.requests[0].id, "opt-0")
        view = await place.ended(runtime, view.id)
        assert view.newest.state.over
        assert view.requests == ()


NOT_SERVED = (
    *(f"fs/{verb}_text_file" for verb in ("read", "write")),
    *(f"terminal/{verb}" for verb in ("create", "output", "release", "wait_for_exit", "kill")),
    "session/update",
    "mcp/connect",
)


@pytest.mark.requirement("T13")
async def test_what_we_do_not_serve_is_not_offered_and_refused_at_once(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[init]]" + "".join(f"[[request:{method}]]" for method in NOT_SERVED))
        said = view.newest.result
        assert '"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false' in said
        assert [method for method in NOT_SERVED if f"{method} -> -32601" not in said] == []


@pytest.mark.parametrize(
    ("script", "state"),
    [
        ("[[stop:refusal]]", TaskState.REFUSED),
        ("[[say:half]][[stop:max_tokens]]", TaskState.FAILED),
        ("[[error:-32603|the model said no]]", TaskState.FAILED),
    ],
)
async def test_stop_reasons_are_told_apart_and_a_failed_task_leaves_the_agent(
    place: Place, script: str, state: TaskState
) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, script)
        assert view.newest.state is state
        assert view.status is Status.IDLE


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("[[stop:end_turn]]", Verdict.EMPTY),
        ("[[failtool:build]][[say:ok]]", Verdict.SUSPECT),
        ("[[say:Error: 400 Bad Request]]", Verdict.SUSPECT),
        ("[[say:x]][[stop:made_up]]", Verdict.SUSPECT),
    ],
)
async def test_an_end_of_turn_without_evidence_is_not_told_as_done(place: Place, script: str, verdict: Verdict) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, script)
        assert (view.newest.state, view.newest.verdict) == (TaskState.COMPLETED, verdict)


@pytest.mark.requirement("T15")
async def test_updates_of_another_session_are_dropped_and_counted(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[otherSession:not mine]]" * 3 + "[[say:mine]]")
        assert view.newest.result == "mine"
        rows = (await runtime.poll(PARENT, view.id, since=0)).rows
        assert rows[-2].text.endswith("so far: 2.") or rows[-3].text.endswith("so far: 2."), rows


async def test_tasks_queue_behind_each_other_and_run_in_order(place: Place) -> None:
    async with place.runtime() as runtime:
        view = await runtime.spawn(PARENT, place.request("[[say:one]]"))
        for word in ("two", "three"):
            await runtime.send(PARENT, view.id, f"[[say:{word}]]")
        view = await place.until(runtime, view.id, lambda each: all(task.state.over for task in each.tasks))
        assert [task.result for task in view.tasks] == ["one", "two", "three"]


async def test_a_login_that_the_catalogue_names_is_made(place: Place) -> None:
    place.kind("locked", "--auth", "api-key")
    kind = place.config.catalogue.kinds["locked"]
    place.add_kind(AgentKind("opened", kind.argv, auth_method="api-key"))
    async with place.runtime() as runtime:
        refused = await place.do(runtime, "[[say:in]]", agent="locked")
        assert refused.newest.state is TaskState.FAILED
        assert (await place.until(runtime, refused.id, lambda each: each.status.over)).error_kind == "login_needed"
        assert (await place.do(runtime, "[[say:in]]", agent="opened")).newest.result == "in"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--protocol-version", "7"), "version 7 of ACP"),
        (("--initialize-error",), "answered initialize with an error"),
        (("--session-error",), "answered session/new with an error"),
        (("--no-session-id",), "did not return a session id"),
        (("--exit-at-start", "3"), "exited with code 3"),
    ],
)
async def test_a_start_that_fails_says_why(place: Place, flags: tuple[str, ...], words: str) -> None:
    place.kind("broken", *flags)
    async with place.runtime() as runtime:
        view = await place.do(runtime, "anything", agent="broken")
        assert view.newest.state is TaskState.FAILED
        assert words in view.newest.cause


async def test_early_and_late_updates_are_kept_and_start_no_turn(place: Place) -> None:
    place.kind("early", "--early-update")
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[say:on time]][[late:afterwards|late-now]]", agent="early")
        assert view.newest.result == "on time"
        await runtime.check(PARENT, view.id, "touch late-now", seconds=30)
        seen = view.seq
        while not any(getattr(row.event, "late", False) for row in await runtime.events(PARENT, view.id, since=seen)):
            view = await place.until(runtime, view.id, lambda each: each.seq > seen)
        assert view.status is Status.IDLE
        assert view.newest.result == "on time"


async def test_a_dirty_folder_goes_in_as_it_is_and_the_patch_fits_it(place: Place) -> None:
    (place.workspace / "greeting.txt").write_text("changed, not committed\n")
    (place.workspace / "untracked.txt").write_text("new\n")
    before = git(place.workspace, "status", "--porcelain")
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[run:cat greeting.txt untracked.txt; echo more >> greeting.txt]]")
        assert view.newest.tools_completed == 1
        await runtime.stop(PARENT, view.id, finished=True)
        work = await runtime.work(PARENT, view.id)
    assert work is not None
    assert git(place.workspace, "status", "--porcelain") == before
    apply_patch(place.workspace, work.patch)
    assert (place.workspace / "greeting.txt").read_text() == "changed, not committed\nmore\n"


@pytest.mark.parametrize("make", ["empty", "plain"])
async def test_a_folder_need_not_be_a_repository(place: Place, make: str) -> None:
    folder = place.root / make
    folder.mkdir()
    if make == "plain":
        (folder / "notes.txt").write_text("a\n")
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[write:made.txt|x]]", workspace=folder)
        await runtime.stop(PARENT, view.id, finished=True)
        work = await runtime.work(PARENT, view.id)
    assert work is not None
    apply_patch(folder, work.patch)
    assert (folder / "made.txt").read_text() == "x"


async def test_submodules_are_left_out_and_never_change_in_the_patch(place: Place) -> None:
    library = place.root / "library"
    library.mkdir()
    git(library, "init", "-q")
    git(library, "commit", "-qm", "x", "--allow-empty")
    git(place.workspace, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "lib")
    git(place.workspace, "commit", "-qm", "with a submodule")
    async with place.runtime() as runtime:
        view = await place.do(runtime, "[[write:made.txt|x]]")
        await runtime.stop(PARENT, view.id, finished=True)
        work = await runtime.work(PARENT, view.id)
    assert work is not None
    assert work.files == 1
    assert b"Subproject" not in work.patch
