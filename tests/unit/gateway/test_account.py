import json
from decimal import Decimal
from pathlib import Path

from acp_runtime.core.budget import Allowance, Budget, Scope, Used
from acp_runtime.core.prices import Price
from acp_runtime.egress.registry import builtin_registries
from acp_runtime.egress.rules import Rules
from acp_runtime.gateway.account import Account, EgressWay, ModelWay, RelayWay
from acp_runtime.gateway.account_reading import read_account
from acp_runtime.keys import Secret
from acp_runtime.models import Route

KEY = "sk-canary-4711"


def whole() -> Account:
    key = Secret(KEY, name="env:K")
    moved = builtin_registries()["npm"].moved({}, private=True)
    return Account(
        "bg-1",
        3,
        1000,
        ModelWay(
            8790,
            Path("/run/x/model.sock"),
            Route.parse("https://host/v1", key=key, key_form="x-api-key", headers=["x-tenant"]),
            (Price.of("m", input=Decimal("0.1"), output=Decimal(3), prompt_over=200),),
            (Allowance(Scope.AGENT, "bg-1", Budget(tokens=5, soft_cost=7), Used(3, 4, "x")),),
        ),
        EgressWay(8791, Path("/run/x/egress.sock"), Rules.parse(["*.example.org:443"]), (moved,)),
        RelayWay("c1", ("/relay", "attach"), "0:0", {"DOCKER_HOST": "unix:///x"}, "token"),
        tree="bg-0",
    )


def test_an_account_is_read_as_it_was_sent():
    account = whole()
    read = read_account(json.loads(json.dumps(account.message())))
    assert read.message() == account.message()
    assert (read.relay, read.egress) == (account.relay, account.egress)
    assert read.model is not None
    assert account.model is not None
    assert (read.model.prices, read.model.allowances) == (account.model.prices, account.model.allowances)


def test_no_account_shows_its_key_or_its_token():
    assert KEY not in repr(whole())
    assert "'token'" not in repr(whole())
    assert KEY in json.dumps(whole().message())
