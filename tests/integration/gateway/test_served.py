"""An account that is open while what it is to serve changes."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.clock import ManualClock
from acp_runtime.core.errors import Rejected
from acp_runtime.egress.rules import Rules
from acp_runtime.gateway.account import Account, EgressWay
from acp_runtime.gateway.ledger import Ledger
from acp_runtime.gateway.served import Means, Served


async def test_a_way_that_could_not_be_served_is_served_when_it_is_asked_for_again(tmp_path: Path) -> None:
    socket = tmp_path / "run" / "egress.sock"
    means = Means(Ledger(tmp_path), ManualClock())
    bare = Account("bg-1", 1, os.getgid())
    served = Served(bare, means)
    await served.open(1)
    wider = replace(bare, egress=EgressWay(8791, socket, Rules.parse(["example.org"]), ()))
    socket.parent.mkdir(mode=0o750)
    socket.write_text("in the way")
    with pytest.raises(Rejected, match="something else in its place"):
        await served.change(wider, 1)
    socket.unlink()
    await served.change(wider, 1)
    assert socket.is_socket()
    await served.close()
    await means.close()
