"""Where a new subagent stands: its depth, its role, and who may have one at all."""

import pytest

from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import Lineage, Orchestration, Role, chain, descend, leader_of, name_of

OUTER = ("editor",)
BELOW = (name_of("bg-1"), "editor")


def born(asked: str, *, above: tuple[str, ...] = OUTER, leader: Role | None = None, **limits: int) -> Lineage:
    return descend(asked, above=above, leader=leader, limits=Orchestration(**limits))  # type: ignore[arg-type]


@pytest.mark.requirement("O01")
@pytest.mark.parametrize(
    ("asked", "role", "note"),
    [
        ("", Role.LEAF, ""),
        ("  ", Role.LEAF, ""),
        ("leaf", Role.LEAF, ""),
        (" Orchestrator ", Role.ORCHESTRATOR, ""),
        ("ORCHESTRATOR", Role.ORCHESTRATOR, ""),
        ("boss", Role.LEAF, "There is no role 'boss' (there are leaf and orchestrator), so it is a leaf."),
        ("leaf\x1b[31m", Role.LEAF, "There is no role 'leaf' (there are leaf and orchestrator), so it is a leaf."),
    ],
)
def test_a_role_is_read_whatever_its_case_and_an_unknown_one_is_told(asked: str, role: Role, note: str) -> None:
    found = born(asked, max_spawn_depth=2)
    assert (found.role, found.note) == (role, note)


@pytest.mark.requirement("O02")
def test_in_a_flat_tree_an_orchestrator_becomes_a_leaf_and_is_told_why() -> None:
    found = born("orchestrator")
    assert found.role is Role.LEAF
    assert "(depth=1, max_spawn_depth=1; see orchestration.max_spawn_depth)" in found.note


@pytest.mark.requirement("O02")
def test_the_lowest_level_has_no_orchestrators() -> None:
    found = born("orchestrator", above=BELOW, leader=Role.ORCHESTRATOR, max_spawn_depth=2)
    assert (found.role, found.depth) == (Role.LEAF, 2)
    assert "depth=2, max_spawn_depth=2" in found.note
    assert born("orchestrator", above=BELOW, leader=Role.ORCHESTRATOR, max_spawn_depth=3).leads


@pytest.mark.requirement("O03")
@pytest.mark.parametrize("most", [1, 2, 5])
def test_who_stands_at_less_than_the_greatest_depth_may_spawn_and_nobody_else(most: int) -> None:
    above = OUTER
    for depth in range(most):
        found = born("orchestrator", above=above, leader=Role.ORCHESTRATOR if depth else None, max_spawn_depth=most)
        assert (found.depth, found.above, found.deepest) == (depth + 1, above, most)
        above = (name_of(f"bg-{depth}"), *above)
    with pytest.raises(Rejected) as caught:
        born("leaf", above=above, leader=Role.ORCHESTRATOR, max_spawn_depth=most)
    assert caught.value.kind == "depth_limit"
    assert str(caught.value) == (
        f"Delegation depth limit reached (depth={most}, max_spawn_depth={most}). Raise orchestration.max_spawn_depth "
        "in config.toml if deeper nesting is required (cap: 8)."
    )
    assert caught.value.data == {"depth": most, "max_spawn_depth": most}


@pytest.mark.requirement("O04")
def test_the_kill_switch_makes_leaves_and_takes_the_right_of_those_that_had_it() -> None:
    found = born("orchestrator", max_spawn_depth=3, enabled=False)
    assert found.role is Role.LEAF
    assert "orchestration.orchestrator_enabled" in found.note
    with pytest.raises(Rejected, match="switched off") as caught:
        born("leaf", above=BELOW, leader=Role.ORCHESTRATOR, max_spawn_depth=3, enabled=False)
    assert caught.value.kind == "not_an_orchestrator"


def test_a_leaf_has_nobody_below_it_however_deep_trees_may_be() -> None:
    with pytest.raises(Rejected, match="You are a leaf") as caught:
        born("leaf", above=BELOW, leader=Role.LEAF, max_spawn_depth=8)
    assert caught.value.kind == "not_an_orchestrator"


def test_who_was_admitted_before_there_were_trees_is_a_leaf_of_its_parent() -> None:
    old = Lineage()
    assert (old.role, old.depth, chain("editor", old)) == (Role.LEAF, 1, ("editor",))
    assert leader_of("editor") is None
    assert leader_of(name_of("bg-1")) == "bg-1"
