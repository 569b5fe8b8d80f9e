"""What sandboxes reached, as it is told from the gateway's ledger to those whom it concerns."""

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.core.errors import Rejected
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.place import folder_beside
from acp_runtime.views import Reached
from tests.integration.manager.conftest import PARENT, Ground

OTHER = "other parent"
ALLOWED = {
    "at": "2026-11-22T01:02:03.004+00:00", "attempt": 1, "way": "tunnel", "host": "a.example.org", "port": 443,
    "method": "CONNECT", "path": "", "status": 200, "up": 10, "down": 20, "end": "answered", "code": None,
    "rule": "*.example.org:443", "why": None,
}  # fmt: skip
REFUSED = {**ALLOWED, "host": "evil.net", "end": "refused", "code": "egress_denied", "rule": None, "why": "no rule"}


def written(ground: Ground, *records: dict[str, object]) -> None:
    """Have a gateway write records down."""
    folder = folder_beside(ground.path)
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder, segment_bytes=300)
    for record in records:
        ledger.append(record)
    ledger.close()


@pytest.mark.requirement("T7")
async def test_each_connection_and_refusal_is_told_to_whom_its_subagent_belongs(ground: Ground) -> None:
    async with ground.runtime() as runtime:
        one = await runtime.spawn(PARENT, ground.request("[[say:x]]"))
        two = await runtime.spawn(OTHER, ground.request("[[say:x]]"))
        written(
            ground,
            {**ALLOWED, "subagent": one.id},
            {**REFUSED, "subagent": two.id},
            {**ALLOWED, "subagent": "bg-deleted", "host": "example.org"},
            {**REFUSED, "subagent": one.id, "host": "notexample.org"},
        )
        everything = await runtime.reached(OPERATOR)
        assert [each.host for each in everything] == ["a.example.org", "evil.net", "example.org", "notexample.org"]
        assert everything[0] == Reached(
            at="2026-11-22T01:02:03.004+00:00", subagent=one.id, attempt=1, way="tunnel", host="a.example.org",
            port=443, method="CONNECT", path="", status=200, end="answered", allowed_by="*.example.org:443", code="",
            why="", bytes_up=10, bytes_down=20,
        )  # fmt: skip
        assert [each.host for each in await runtime.reached(PARENT)] == ["a.example.org", "notexample.org"]
        assert [each.code for each in await runtime.reached(OPERATOR, refused=True)] == ["egress_denied"] * 2
        below = await runtime.reached(OPERATOR, host="Example.org.")
        assert [each.host for each in below] == ["a.example.org", "example.org"]
        assert [each.host for each in await runtime.reached(OPERATOR, limit=1)] == ["notexample.org"]
        assert [each.host for each in await runtime.reached(OPERATOR, subagent=two.id)] == ["evil.net"]
        with pytest.raises(Rejected, match="Unknown background subagent"):
            await runtime.reached(PARENT, subagent=two.id)
        with pytest.raises(Rejected, match="limit is 0"):
            await runtime.reached(OPERATOR, limit=0)


async def test_records_of_other_versions_are_told_as_far_as_they_can_be_read(ground: Ground) -> None:
    async with ground.runtime() as runtime:
        assert await runtime.reached(OPERATOR) == []
        written(ground, {"subagent": 7, "port": "x", "host": None, "later": {}})
        [told] = await runtime.reached(OPERATOR)
    assert (told.subagent, told.port, told.host) == ("", 0, "")
