"""What the forwarder measures of real exchanges: whatever becomes of one, it is carried as before and told once."""

import asyncio
import json
from pathlib import Path

import h11
import pytest

from acp_runtime.core.budget import Budget, Used
from acp_runtime.core.metering import Call, CallEnd, Usage
from tests.integration.http_ends import MOMENT, client, forwarding, upstream

CHAT = "/v1/chat/completions"
USAGE = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}
ASKED = json.dumps({"model": "priced", "messages": [{"role": "user", "content": "hi"}]}).encode()
ANSWER = json.dumps({"model": "priced-2026-01-31", "choices": [], "usage": USAGE}).encode()
EVENTS = (b'data: {"choices": [{"delta": {}}]}\n\n', b"data: " + ANSWER + b"\n\n", b"data: [DONE]\n\n")
TOLD = Usage(input=10, output=3)
STREAM = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]


async def one(folder: Path, handler, *, method: str = "POST", target: str = CHAT, body: bytes = ASKED):
    """Have one exchange; return the answer and the calls that were told."""
    async with upstream(handler) as model, forwarding(folder, model.url) as way, client(way.path) as end:
        head, answer = await end.exchange(method, target, body)
        return head.status_code, answer, way.calls


async def answers(end, _request):
    await end.hear_body()
    await end.answer(200, ANSWER)


async def streams(end, _request):
    await end.hear_body()
    await end.say(h11.Response(status_code=200, headers=STREAM))
    for event in EVENTS:
        await end.say(h11.Data(data=event))
    await end.say(h11.EndOfMessage())


@pytest.mark.requirement("D09.7")
@pytest.mark.parametrize("handler", [answers, streams])
async def test_a_call_is_told_with_its_tokens_and_its_cost(tmp_path: Path, handler):
    status, answer, calls = await one(tmp_path, handler)
    assert (status, answer) == (200, ANSWER if handler is answers else b"".join(EVENTS))
    cost = (10 * 1 + 3 * 2) * 1_000
    assert calls == [Call("bg-0000000001", MOMENT, "priced-2026-01-31", CallEnd.ANSWERED, TOLD, 0, cost, boot="manual")]


async def test_an_answer_that_names_another_model_is_priced_by_the_one_asked_for_where_it_has_none(tmp_path: Path):
    async def renamed(end, _request):
        await end.hear_body()
        await end.answer(200, ANSWER.replace(b"priced-2026-01-31", b"deployment-7"))

    _, _, (call,) = await one(tmp_path, renamed)
    assert (call.model, call.cost) == ("deployment-7", 16_000)


async def test_an_answer_that_tells_no_tokens_is_told_as_unknown_with_an_estimate(tmp_path: Path):
    async def silent(end, _request):
        await end.hear_body()
        await end.answer(200, b"x" * 400)

    _, _, (call,) = await one(tmp_path, silent)
    assert (call.model, call.usage, call.cost) == ("priced", None, 0)
    up = -(-len(ASKED) // 4)
    assert (call.estimate, call.estimate_cost) == (up + 100, (up * 1 + 100 * 2) * 1_000)


async def test_an_encoded_answer_is_not_read_and_not_changed(tmp_path: Path):
    async def encoded(end, request):
        assert dict(request.headers)[b"accept-encoding"] == b"identity"
        await end.hear_body()
        await end.answer(200, bytes(range(256)), [("content-encoding", "gzip")])

    _, answer, (call,) = await one(tmp_path, encoded)
    assert (answer, call.usage) == (bytes(range(256)), None)


async def test_an_error_of_the_provider_costs_nothing(tmp_path: Path):
    async def fails(end, _request):
        await end.hear_body()
        await end.answer(500, ANSWER)

    status, _, (call,) = await one(tmp_path, fails)
    assert (status, call.end, call.usage, call.estimate) == (500, CallEnd.FAILED, None, 0)
    assert call.why == "the model answered 500"


@pytest.mark.parametrize(("method", "target"), [("GET", "/v1/models"), ("POST", "/v1/messages/count_tokens")])
async def test_what_is_no_call_is_not_told(tmp_path: Path, method: str, target: str):
    _, _, calls = await one(tmp_path, answers, method=method, target=target, body=b"" if method == "GET" else ASKED)
    assert calls == []


async def test_a_request_that_is_refused_never_left(tmp_path: Path):
    async with upstream(answers) as model:
        async with forwarding(tmp_path, model.url) as way, client(way.path) as end:
            head, _ = await end.exchange("POST", "/elsewhere", ASKED)
        assert (head.status_code, model.requests) == (403, [])
    (call,) = way.calls
    assert (call.end, call.on_top_of(Used()), call.model) == (CallEnd.REFUSED, Used(), "")


async def test_an_answer_that_breaks_off_is_told_with_what_it_told_and_an_estimate(tmp_path: Path):
    first = b'data: {"message": {"model": "priced", "usage": {"input_tokens": 10, "output_tokens": 1}}}\n\n'

    async def breaks(end, _request):
        await end.hear_body()
        await end.say(h11.Response(status_code=200, headers=STREAM), h11.Data(data=first))
        end.writer.transport.abort()

    async with upstream(breaks) as model, forwarding(tmp_path, model.url) as way, client(way.path) as end:
        await end.ask("POST", CHAT, ASKED)
        assert isinstance(await end.hear(), h11.Response)
        with pytest.raises(h11.RemoteProtocolError):
            await end.hear_body()
    (call,) = way.calls
    assert (call.end, call.usage, call.cost) == (CallEnd.BROKEN, Usage(input=10, output=1), 12_000)
    assert call.estimate == -(-len(first) // 4)
    assert call.estimate_cost == call.estimate * 2_000


async def test_a_client_that_leaves_when_it_has_all_is_charged_exactly(tmp_path: Path):
    left = asyncio.Event()

    async def lingers(end, _request):
        await end.hear_body()
        await end.say(h11.Response(status_code=200, headers=STREAM), *(h11.Data(data=each) for each in EVENTS))
        await left.wait()

    async with upstream(lingers) as model, forwarding(tmp_path, model.url) as way:
        async with client(way.path) as end:
            await end.ask("POST", CHAT, ASKED)
            heard = b""
            while not heard.endswith(EVENTS[-1]):
                event = await end.hear()
                heard += event.data if isinstance(event, h11.Data) else b""
        left.set()
    (call,) = way.calls
    assert (call.end, call.usage, call.estimate) == (CallEnd.ANSWERED, TOLD, 0)


FORMS = {
    "/v1/chat/completions": {
        "error": {"message": "SAID", "type": "insufficient_quota", "param": None, "code": "budget_used_up"}
    },
    "/v1/responses": {
        "error": {"message": "SAID", "type": "insufficient_quota", "param": None, "code": "budget_used_up"}
    },
    "/v1/messages?beta=true": {"type": "error", "error": {"type": "invalid_request_error", "message": "SAID"}},
    "/v1/models/m:streamGenerateContent?alt=sse": {
        "error": {"code": 400, "message": "SAID", "status": "FAILED_PRECONDITION"}
    },
    "/v1internal:streamGenerateContent?alt=sse": {
        "error": {"code": 400, "message": "SAID", "status": "FAILED_PRECONDITION"}
    },
}
FREE = (
    ("GET", "/v1/models", b""),
    ("POST", "/v1/messages/count_tokens", ASKED),
    ("POST", "/v1internal:loadCodeAssist", b"{}"),
)
SAID = "The budget of 20 tokens is used up (26 used). No further call of a model is made for this agent."


@pytest.mark.requirement("D09.16")
@pytest.mark.parametrize("target", FORMS)
async def test_beyond_a_budget_the_next_call_is_refused_in_the_form_of_its_api(tmp_path: Path, target: str):
    large = json.dumps({"model": "priced", "input": "x" * 2_000_000}).encode()
    async with upstream(answers) as model:
        async with forwarding(tmp_path, model.url.removesuffix("/v1"), budget=Budget(tokens=20)) as way:
            for _ in range(2):
                async with client(way.path) as end:
                    assert (await end.exchange("POST", CHAT, ASKED))[0].status_code == 200
            for body in (ASKED, large):
                async with client(way.path) as end:
                    head, refusal = await end.exchange("POST", target, body)
                assert (head.status_code, json.loads(json.dumps(FORMS[target]).replace("SAID", SAID))) == (
                    400,
                    json.loads(refusal),
                )
        assert len(model.requests) == 2, "what is refused is not dialled"
    assert [call.end for call in way.calls] == [CallEnd.ANSWERED] * 2 + [CallEnd.OVER_BUDGET] * 2
    assert way.calls[-1].why == "the budget of 20 tokens is used up (26 used)"


@pytest.mark.requirement("D09.16")
@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/batches"),
        ("POST", "/v1/messages/batches?x=1"),
        ("POST", "/v1/messages/%62atches"),
        ("POST", "/v1/models/m:batchGenerateContent"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1?stream=true"),
    ],
)
async def test_what_is_answered_later_is_refused_since_nobody_could_count_it(tmp_path: Path, method: str, target: str):
    async with upstream(answers) as model:
        async with forwarding(tmp_path, model.url) as way, client(way.path) as end:
            head, refusal = await end.exchange(method, target, ASKED)
        assert model.requests == []
    assert (head.status_code, json.loads(refusal)["error"]["code" if ":" not in target else "status"]) == (
        400,
        "batch_refused" if ":" not in target else "FAILED_PRECONDITION",
    )
    assert way.tally.failures == 1


async def test_what_costs_nothing_is_not_refused_for_a_budget(tmp_path: Path):
    async with (
        upstream(answers) as model,
        forwarding(tmp_path, model.url.removesuffix("/v1"), budget=Budget(cost=1)) as way,
    ):
        async with client(way.path) as end:
            await end.exchange("POST", CHAT, ASKED)
        for method, target, body in FREE:
            async with client(way.path) as end:
                assert (await end.exchange(method, target, body))[0].status_code == 200


@pytest.mark.requirement("D09.16")
async def test_a_cost_that_nobody_knows_is_beyond_any_budget_of_costs(tmp_path: Path):
    async def unpriced(end, _request):
        await end.hear_body()
        await end.answer(200, ANSWER.replace(b"priced-2026-01-31", b"new-1"))

    body = ASKED.replace(b"priced", b"new-1")
    async with upstream(unpriced) as model, forwarding(tmp_path, model.url, budget=Budget(cost=10**12)) as way:
        async with client(way.path) as end:
            assert (await end.exchange("POST", CHAT, body))[0].status_code == 200
        async with client(way.path) as end:
            head, refusal = await end.exchange("POST", CHAT, body)
    assert head.status_code == 400
    assert b'the price of the model new-1 is not known; add [prices.\\"new-1\\"] to the configuration' in refusal


@pytest.mark.requirement("D09.16")
async def test_an_answer_that_tells_no_tokens_counts_all_the_same(tmp_path: Path):
    async def silent(end, _request):
        await end.hear_body()
        await end.answer(200, b"x" * 400)

    async with upstream(silent) as model, forwarding(tmp_path, model.url, budget=Budget(tokens=100)) as way:
        for status in (200, 400):
            async with client(way.path) as end:
                assert (await end.exchange("POST", CHAT, ASKED))[0].status_code == status
