"""What a model may decide, and what it is told where it may not, or asked for what there is not."""

import json
from dataclasses import replace
from typing import Any

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.confinement import Confinement
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Permissions
from acp_runtime.service import Runtime, SpawnRequest
from tests.integration.manager.conftest import PARENT, Ground
from tests.integration.service.conftest import Bench, refused, working


@pytest.mark.requirement("P13")
async def test_a_foreign_id_answers_exactly_like_an_unknown_one_to_every_tool(bench: Bench) -> None:
    told = await working(bench)
    stranger = bench.another("stranger")
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("send_background_subagent", "id", {"message": "x"}),
        ("send_background_subagent", "id", {"message": "x", "mode": "steer"}),
        ("poll_background_subagent", "id", {}),
        ("poll_background_subagent", "id", {"since_seq": 0}),
        ("get_background_subagent_status", "id", {}),
        ("stop_background_subagent", "id", {}),
        ("stop_background_subagent", "id", {"scope": "task"}),
        ("answer_background_subagent", "id", {"request_id": "1", "option_id": "x"}),
        ("check_task", "task_id", {}),
        ("collect_task", "task_id", {}),
        ("steer_task", "task_id", {"message": "x"}),
        ("cancel_task", "task_id", {}),
    ]
    for name, key, more in calls:
        foreign = await stranger.call(name, **{key: told["id"]}, **more)
        unknown = await stranger.call(name, **{key: "bg-0000000000"}, **more)
        assert foreign["kind"] in ("unknown_subagent", "unknown_task"), (name, foreign)
        assert json.dumps(foreign).replace(told["id"], "ID") == json.dumps(unknown).replace("bg-0000000000", "ID")
    foreign = await stranger.call("wait_background_subagents", ids=[told["id"]])
    assert refused(foreign, "unknown_subagent") == f"Unknown background subagent: {told['id']}"
    assert (await stranger.call("list_background_subagents"))["subagents"] == []
    assert (await bench.call("get_background_subagent_status", id=told["id"]))["status"] == "running"
    bench.say_go()


@pytest.mark.requirement("P01")
@pytest.mark.parametrize(
    ("name", "arguments", "kind", "words"),
    [
        ("fork_background_subagent", {}, "unknown_tool", "Unknown tool: fork_background_subagent"),
        ("send_background_subagent", {"message": "x"}, "invalid", "id is required."),
        ("send_background_subagent", {"id": "x"}, "invalid", "message is required."),
        ("send_background_subagent", {"id": "x", "message": 5}, "invalid", "message cannot be 5"),
        ("send_background_subagent", {"id": "x", "message": "x", "mode": "now"}, "invalid", "mode cannot be 'now'"),
        ("poll_background_subagent", {"id": "x", "since_seq": -1}, "invalid", "since_seq cannot be -1"),
        ("poll_background_subagent", {"id": "x", "since": 1}, "invalid", "since is no parameter of poll_"),
        ("spawn_background_subagent", {"tasks": [{}]}, "invalid", "purpose is required."),
    ],
)
async def test_an_unknown_tool_or_a_wrong_argument_is_a_structured_error(
    bench: Bench, name: str, arguments: dict[str, Any], kind: str, words: str
) -> None:
    assert words in refused(await bench.call(name, **arguments), kind)
    assert bench.ground.told == []


@pytest.mark.requirement("P01")
@pytest.mark.parametrize(
    ("name", "arguments", "kind", "words"),
    [
        (["x"], {}, "unknown_tool", "Unknown tool: ['x']"),
        (None, {}, "unknown_tool", "Unknown tool: None"),
        ("list_background_subagents", ["x"], "invalid", "are one object with its parameters, not ['x']."),
        ("list_background_subagents", "x", "invalid", "are one object with its parameters, not x."),
        ("send_background_subagent", None, "invalid", "id is required."),
        ("send_background_subagent", {1: 2}, "invalid", "id is required."),
        ("poll_background_subagent", {"id": "x", "since_seq": 10**30}, "invalid", "since_seq cannot be 1000"),
        ("wait_background_subagents", {"since_seq": 2**63}, "invalid", "since_seq cannot be 9223372036854775808"),
        ("wait_background_subagents", {"timeout": float("nan")}, "invalid", "timeout cannot be nan"),
        ("collect_task", {"task_id": "x", "timeout": float("nan")}, "invalid", "timeout cannot be nan"),
    ],
)
async def test_whatever_a_host_hands_over_is_answered(
    bench: Bench, name: Any, arguments: Any, kind: str, words: str
) -> None:
    assert words in refused(await bench.tools.call(name, arguments), kind)


@pytest.mark.requirement("P01")
@pytest.mark.parametrize("parent", ["", " ", "\u200b"])
async def test_without_a_parent_nothing_is_done(bench: Bench, parent: str) -> None:
    told = await bench.another(parent).spawn("[[say:x]]")
    assert refused(told, "no_parent") == "Background subagents require a parent session_id."


async def test_an_open_question_ends_one_wait_and_not_those_after_it(bench: Bench) -> None:
    ident = await asking(bench, "allow_once,reject_once")
    busy = await working(bench)
    waited = await bench.call("wait_background_subagents")
    assert waited["reason"] == "question"
    for mode in ("first", "all", "any_change"):
        again = await bench.call("wait_background_subagents", mode=mode, since_seq=waited["next_seq"], timeout=0)
        assert again["reason"] == "timeout", mode
    assert (await bench.call("wait_background_subagents", timeout=0))["reason"] == "question", "who asks anew is told"
    bench.say_go()
    ended = await bench.call("wait_background_subagents", since_seq=waited["next_seq"])
    assert [each["id"] for each in ended["subagents"] if each.get("done")] == [busy["id"]]
    known = {"id": ident, "request_id": ended["subagents"][0]["requests"][0]["request_id"]}
    assert (await bench.call("answer_background_subagent", **known, option_id="opt-0"))["success"]


async def asking(bench: Bench, kinds: str) -> str:
    request = SpawnRequest("scripted", bench.ground.folder, f"[[ask:{kinds}]]", permissions=Permissions.ASK)
    view = await bench.runtime.spawn(PARENT, request)
    await bench.until(view.id, lambda each: bool(each.requests))
    return view.id


async def test_a_parent_answers_a_question_with_what_was_offered(bench: Bench) -> None:
    """B2: the answer is one of the options of the agent, in ACP's shape."""
    ident = await asking(bench, "allow_once,reject_once")
    waited = await bench.call("wait_background_subagents", ids=[ident])
    assert waited["reason"] == "question"
    (question,) = waited["subagents"][0]["requests"]
    assert [one["kind"] for one in question["options"]] == ["allow_once", "reject_once"]
    known = {"id": ident, "request_id": question["request_id"]}
    wrong = await bench.call("answer_background_subagent", **known, option_id="yes")
    assert 'offered: "opt-0", "opt-1"' in refused(wrong, "option_unknown")
    assert (await bench.call("answer_background_subagent", **known, option_id="opt-0"))["success"]
    assert (await bench.done(ident))["result"]["text"] == "chose opt-0"
    late = await bench.call("answer_background_subagent", **known, option_id="opt-0")
    assert "is not open; nothing was answered; open: none" in refused(late, "request_closed")


@pytest.mark.requirement("T14")
@pytest.mark.parametrize("kind", ["allow_always", "a kind that ACP does not know"])
async def test_a_model_cannot_allow_for_good_but_the_operator_can(bench: Bench, kind: str) -> None:
    ident = await asking(bench, f"{kind},reject_once")
    view = await bench.runtime.status(PARENT, ident)
    known = {"id": ident, "request_id": view.requests[0].id}
    answer = await bench.call("answer_background_subagent", **known, option_id="opt-0")
    assert "only the operator" in refused(answer, "needs_operator")
    await bench.runtime.answer(OPERATOR, ident, view.requests[0].id, "opt-0")
    assert (await bench.done(ident))["result"]["text"] == "chose opt-0"


async def test_steering_an_agent_that_cannot_be_steered_is_told_as_queued(bench: Bench) -> None:
    told = await working(bench)
    sent = await bench.call("send_background_subagent", id=told["id"], message="[[say:later]]", mode="steer")
    assert (sent["outcome"], sent["queued"]) == ("queued", True)
    bench.say_go()
    assert (await bench.done(told["id"]))["result"]["text"] == "later"


@pytest.mark.requirement("P26")
async def test_a_preset_decides_and_a_parent_gets_nothing_beyond_its_ceiling(ground: Ground) -> None:
    async with ground.runtime() as opened:
        config = replace(opened.config, ceiling="restricted", default_preset="restricted")
    async with Runtime.open(ground.path, launcher=ground, config=config) as runtime:
        bench = Bench(ground, runtime)
        told = await bench.spawn("[[ask:allow_once,reject_once]]")
        view = await bench.until(told["id"], lambda each: bool(each.requests))
        assert view.preset == "restricted"
        answer = await bench.spawn("x", preset="privileged")
        assert "goes beyond 'restricted'" in refused(answer, "beyond_ceiling")
        assert "memory 8192 MiB where 2048 MiB are allowed" in answer["wider"]
        assert "Available: restricted" in refused(await bench.spawn("x", preset="none"), "unknown_preset")
        request = SpawnRequest("scripted", ground.folder, "[[say:x]]", permissions=Permissions.ALLOW)
        with pytest.raises(Rejected, match="permissions allow where ask is allowed"):
            await runtime.spawn(PARENT, request)
        view = await runtime.spawn(OPERATOR, replace(request, preset="privileged"))
        assert view.preset == "privileged", "the operator is not held by the ceiling of parents"
        with pytest.raises(Rejected, match="memory 4096 MiB where 2048 MiB are allowed"):
            await runtime.spawn(PARENT, replace(request, permissions=None, memory=4096))


async def test_what_weakens_a_sandbox_is_in_the_status_also_after_its_end(ground: Ground) -> None:
    async with ground.runtime() as opened:
        presets = opened.config.presets
        weak = replace(presets["friendly"], name="weak", confinement=Confinement(unsafe_seccomp=True))
        config = replace(opened.config, presets={**presets, "weak": weak})
    async with Runtime.open(ground.path, launcher=ground, config=config) as runtime:
        request = SpawnRequest("scripted", ground.folder, "[[say:x]]", preset="weak")
        with pytest.raises(Rejected, match="goes beyond 'privileged': unsafe_seccomp"):
            await runtime.spawn(PARENT, request)
        view = await runtime.spawn(OPERATOR, request)
        assert (view.runtime, view.unsafe) == ("", ("unsafe_seccomp",))
        await runtime.stop(OPERATOR, view.id)
    async with Runtime.open(ground.path, launcher=ground, config=config) as runtime:
        view = await runtime.status(OPERATOR, view.id)
        assert (view.status.over, view.unsafe) == (True, ("unsafe_seccomp",))


async def test_a_bug_of_ours_is_an_answer_too(bench: Bench) -> None:
    bench.changes["defaults"] = None
    assert "its log says how" in refused(await bench.spawn("[[say:x]]"), "internal_error")


async def test_refusals_and_limits_and_failures_are_no_finished_tasks(bench: Bench) -> None:
    """B13: the original announced all of them as finished."""
    told = await bench.spawn("[[stop:refusal]]")
    assert (await bench.done(told["id"]))["result"]["outcome"] == "refused"
    await bench.call("send_background_subagent", id=told["id"], message="[[stop:max_tokens]]")
    found = await bench.done(told["id"])
    assert found["result"]["outcome"] == "failed"
    assert "token limit" in found["result"]["cause"]
    page = await bench.call("poll_background_subagent", id=told["id"], since_seq=0)
    assert {"task_refused", "task_failed"} <= {each["kind"] for each in page["events"]}
    assert "task_complete" not in {each["kind"] for each in page["events"]}
