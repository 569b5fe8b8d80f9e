"""How many subagents a parent may have at one time: as configured, for outer parents and for those in a tree."""

from dataclasses import replace

from acp_runtime.config import Config
from acp_runtime.core.admission import Admission, Share
from acp_runtime.core.errors import Rejected
from acp_runtime.core.lineage import leader_of

__all__ = ["admission", "check_count", "shares"]


def admission(config: Config, parent: str, *, one_shot: bool) -> Admission:
    """Return the limits for one more subagent of a parent."""
    usual = replace(config.one_shot.admission if one_shot else config.admission, shares=shares(config))
    if leader_of(parent) is None:
        return usual
    return replace(usual, per_parent=config.orchestration.max_concurrent_children)


def shares(config: Config) -> tuple[Share, ...]:
    """Return what bounds trees and parents as a whole."""
    return tuple(each for each in (config.tree_budget, config.parent_budget) if each.bounds)


def check_count(config: Config, parent: str, count: int, *, one_shot: bool) -> None:
    """Raise `Rejected` (too_many_tasks) where a parent can never have so many at one time: none is left out."""
    most = max(1, admission(config, parent, one_shot=one_shot).per_parent)
    if count <= most:
        return
    outer = "one_shot.per_parent" if one_shot else "admission.per_parent"
    key = outer if leader_of(parent) is None else "max_concurrent_children"
    table = "" if leader_of(parent) is None else "orchestration."
    sentence = f"Too many tasks: {count} provided, but {key} is {most}."
    remedy = f"Give fewer at a time, or have {table}{key} raised in config.toml."
    raise Rejected("too_many_tasks", f"{sentence} {remedy}", {"count": count, "most": most})
