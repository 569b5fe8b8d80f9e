"""What is written down of an agent that floods the gateway: no more than leaves room for what others do."""

from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.egress.contact import Contact
from acp_runtime.gateway.ledger import Ledger, newest
from acp_runtime.gateway.recording import AT_ONCE, PER_SECOND, Books

REFUSED = Contact("tunnel", "refused", "evil.net", 443, refused="egress_denied", why="no rule", status=403)
REACHED = Contact("tunnel", "answered", "fine.net", 443, allowed_by="fine.net:443", status=200)


@pytest.mark.requirement("T2")
def test_refusals_that_come_as_a_flood_are_counted_instead(tmp_path: Path) -> None:
    clock, ledger = ManualClock(), Ledger(tmp_path)
    flooding, other = (Books(name, 1, ledger, clock, tree="bg-0") for name in ("bg-1", "bg-2"))
    for _ in range(AT_ONCE + 30):
        flooding.tell(REFUSED)
    flooding.tell(REACHED)
    other.tell(REFUSED)
    clock.advance(round(2000 / PER_SECOND))
    for _ in range(4):
        flooding.tell(REFUSED)
    ledger.close()
    assert {each["tree"] for each in newest(tmp_path, lambda _: True, 10_000)} == {"bg-0"}
    told = [
        (each["subagent"], each["host"] if "host" in each else each["why"])
        for each in newest(tmp_path, lambda _: True, 10_000)
    ]
    assert told[:AT_ONCE] == [("bg-1", "evil.net")] * AT_ONCE
    assert told[AT_ONCE:] == [
        ("bg-1", "from here on refusals are left out"),
        ("bg-1", "30 refusals were left out"),
        ("bg-1", "fine.net"),
        ("bg-2", "evil.net"),
        ("bg-1", "evil.net"),
        ("bg-1", "evil.net"),
        ("bg-1", "from here on refusals are left out"),
    ]
    assert (flooding.exchanges, flooding.failures) == (AT_ONCE + 35, AT_ONCE + 34)
