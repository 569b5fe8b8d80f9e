"""The answer to a permission request is chosen by kind, never by position, name or id."""

import pytest

from acp_runtime.core.model import Permissions
from acp_runtime.core.permission import choose, reject
from acp_runtime.core.request import Option


def offered(*kinds: str) -> tuple[Option, ...]:
    return tuple(Option(f"id-{number}", "Allow everything", kind) for number, kind in enumerate(kinds))


@pytest.mark.parametrize(
    ("policy", "kinds", "chosen"),
    [
        (Permissions.ALLOW, ("allow_once", "allow_always"), "id-0"),
        (Permissions.ALLOW, ("allow_always", "allow_once"), "id-1"),
        (Permissions.ALLOW, ("reject_once", "allow_always"), "id-1"),
        (Permissions.ALLOW, ("reject_always", "reject_once"), None),
        (Permissions.ALLOW, ("ALLOW_ONCE", "allow", ""), None),
        (Permissions.ALLOW, (), None),
        (Permissions.DENY, ("allow_once", "reject_once"), "id-1"),
        (Permissions.DENY, ("reject_always", "reject_once"), "id-1"),
        (Permissions.DENY, ("allow_once", "reject_always"), "id-1"),
        (Permissions.DENY, ("allow_once", "allow_always"), None),
        (Permissions.DENY, ("rejected", "deny"), None),
    ],
)
def test_the_policy_takes_the_smallest_fitting_kind(
    policy: Permissions, kinds: tuple[str, ...], chosen: str | None
) -> None:
    assert choose(offered(*kinds), policy) == chosen


def test_a_name_that_lies_changes_nothing() -> None:
    options = (Option("reject", "Reject", "allow_always"), Option("allow", "Allow", "reject_once"))
    assert choose(options, Permissions.DENY) == "allow"
    assert choose(options, Permissions.ALLOW) == "reject"


def test_of_two_equal_kinds_the_first_offered_is_taken() -> None:
    assert choose(offered("allow_once", "allow_once"), Permissions.ALLOW) == "id-0"


def test_a_deadline_rejects_by_kind_and_cancels_where_nothing_rejects() -> None:
    assert reject(offered("allow_once", "reject_always", "reject_once")) == "id-2"
    assert reject(offered("allow_once")) == ""
    assert reject(()) == ""
