"""What follows when a subagent used its models: bounds are told, and a task that was refused a call is doomed."""

from acp_runtime.core.admission import wall_words
from acp_runtime.core.draft import Draft
from acp_runtime.core.events import BudgetReached, CallRefused, TreeTimeOver
from acp_runtime.core.inputs import ModelUsed, TimeOver


def model_used(draft: Draft, given: ModelUsed) -> None:
    """Tell each bound once in a period of the budget, and note why the task under way cannot go on."""
    budget, task = draft.state.order.budget, draft.state.active
    if draft.state.lifecycle.over:
        return
    for bound in budget.reached(given.used):
        if bound not in draft.state.reached:
            cause, period = budget.words(bound, given.used), draft.state.period
            draft.emit(BudgetReached(at=draft.now, bound=bound, cause=cause, period=period))
    for shared, bound in given.shared:
        draft.emit(
            BudgetReached(
                at=draft.now,
                bound=bound,
                cause=shared.budget.words(bound, shared.used, shared.scope),
                period=getattr(shared.budget, bound),
                scope=shared.scope,
                key=shared.key,
            )
        )
    if given.refused and task is not None and not task.doomed:
        draft.emit(CallRefused(at=draft.now, task_id=task.id, cause=given.refused))


def time_over(draft: Draft, given: TimeOver) -> None:
    """Tell that the time of the tree is over. What is under way goes on."""
    if not draft.state.lifecycle.over:
        words = wall_words(given.most, given.seconds)
        cause = f"the tree's budget {words}; it gets no further subagent and no further task"
        draft.emit(TreeTimeOver(at=draft.now, most=given.most, cause=cause))
