"""What the gateway is told of an agent, from its request and kind."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from acp_runtime.config import load
from acp_runtime.core.budget import Allowance, Budget, Scope, Used
from acp_runtime.core.model import Order
from acp_runtime.manager.launcher import LaunchRequest
from acp_runtime.manager.model_way import account_of, route_of
from acp_runtime.session.catalogue import AgentKind
from sandbox.probe import ProbeResult

KIND = AgentKind("mine", ("mine",), key_form="x-api-key", model_headers=["x-tenant"])
ORDER = Order(agent="mine", workspace="/", model_url="https://model.example.org/v1")
REQUEST = LaunchRequest("aaaabbbb", "bg-2", 1, KIND, ORDER, Path("/nowhere"), str, "t" * 48)


async def test_it_has_the_headers_of_its_kind_and_the_top_one_of_its_tree() -> None:
    route = await route_of(REQUEST, {})
    assert route is not None
    assert (route.key_form, route.carries(b"x-tenant"), route.carries(b"x-other")) == ("x-api-key", True, False)
    allowances = tuple(Allowance(scope, scope.value, Budget(), Used()) for scope in Scope)
    account = account_of(
        replace(REQUEST, allowances=lambda: allowances),
        sandbox=cast(Any, None),
        probed=ProbeResult(sockets_shared=True, gid=0, uid=0, why=""),
        run_dir=Path("/nowhere"),
        route=route,
        config=load(None, {"HOME": "/nonexistent"}),
        environ={},
    )
    assert account.tree == Scope.TREE.value
    assert account.message()["model"]["headers"] == ["x-tenant"]
