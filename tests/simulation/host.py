"""A simulated host: three parents with two doors each, twelve agents, and everything that goes wrong with them.

The core and the store are the real ones; only time and the agents are made up. A history is a function of its seed.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from acp_runtime.clock import ManualClock
from acp_runtime.core.decide import decide
from acp_runtime.core.errors import Rejected
from acp_runtime.core.events import Event
from acp_runtime.core.inputs import (
    ChannelClosed,
    DeadlinePassed,
    DeathProven,
    Halted,
    Heard,
    Input,
    PromptAnswered,
    PromptBroke,
    Rebooted,
    Send,
    SessionReady,
    StartBroke,
    StopSubagent,
)
from acp_runtime.core.model import Lifecycle, Limits, Permissions, Reason, Subagent
from acp_runtime.core.timers import milliseconds, next_deadline
from acp_runtime.core.transcript import MessageEntry
from acp_runtime.core.turns import Origin, OutboxRules
from acp_runtime.store.outbox import UNTOLD, TurnContext
from acp_runtime.store.store import Committed, Store
from tests.histories import WEIGHTS, fold, moves, spawn
from tests.simulation.checker import Told, check_new_turn, check_tasks, check_told, read

PARENTS, DOORS, AGENTS = 3, ("mcp", "hook"), 12
RULES = OutboxRules(claim=30.0, offers=4, absent=3_600.0, wakes=2)
LIMITS = (Limits(), Limits(idle=50.0, lifetime=300.0), Limits(task=20.0, restarts=0), Limits(request=30.0))
# More ends and fewer words than in the histories of the core: what is told is what is tried here.
BIAS = WEIGHTS | {Heard: 1, SessionReady: 10, StartBroke: 0.3, DeathProven: 4, Halted: 4, DeadlinePassed: 5}


@dataclass
class Parent:
    """One parent: the names it has had, the turns it has begun and not ended, and what it was told."""

    names: list[str]
    told: Told = field(default_factory=Told)
    begun: list[TurnContext] = field(default_factory=list)
    count: int = 0


class Ground:
    """One store file and one clock for many histories; the owner of the store may change at any moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = AsyncExitStack()
        self.clock = ManualClock(now=1_000)
        self.store: Store

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator["Ground"]:
        self = cls(path)
        try:
            await self.reopen()
            yield self
        finally:
            await self._stack.aclose()

    async def reopen(self) -> None:
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        self.store = await self._stack.enter_async_context(Store.open(self._path, self.clock, RULES))


class Host:
    """The parents and agents of one history."""

    def __init__(self, ground: Ground, seed: int, *, commits_first: bool = False) -> None:
        self.ground = ground
        self.random = Random(seed)
        self.seed = seed
        self.commits_first = commits_first
        self.parents = [Parent([f"p{number} of {seed}"]) for number in range(PARENTS)]
        self.agents: dict[str, Committed] = {}
        self.logs: dict[str, list[Event]] = {}

    async def run(self, steps: int) -> None:
        """Live through one history and judge it."""
        for number in range(AGENTS):
            await self._spawn(number)
        for _ in range(steps):
            await self._step()
        await self._judge()
        for ident in self.agents:
            await self._end(ident)
        await self._judge()
        for events in self.logs.values():
            check_tasks(events)

    # ---- agents

    def _parent_of(self, ident: str) -> Parent:
        return self.parents[int(ident[-2:], 16) % PARENTS]

    async def _spawn(self, number: int) -> None:
        ident = f"bg-{self.seed:08x}{number:02x}"
        given = spawn(
            ident,
            parent=self.random.choice(self._parent_of(ident).names),
            limits=self.random.choice(LIMITS),
            permissions=self.random.choice(list(Permissions)),
        )
        events, _ = decide(None, given, self.ground.clock.now())
        if self.random.random() < 0.8:
            events += decide(fold(None, events), SessionReady(1, "s", "agent", "1"), self.ground.clock.now())[0]
        self.agents[ident] = await self.ground.store.commit(ident, None, 0, events)
        self.logs[ident] = list(events)

    async def _take(self, ident: str, *inputs: Input) -> None:
        """Have inputs decided one after the other, and commit what follows; what is rejected changes nothing."""
        committed = self.agents[ident]
        state, events = committed.state, []
        for given in inputs:
            try:
                made, _ = decide(state, given, self.ground.clock.now())
            except Rejected:
                return
            state = fold(state, made)
            events += made
        if events:
            self.agents[ident] = await self.ground.store.commit(ident, committed.state, committed.version, events)
            self.logs[ident] += events

    async def _move(self) -> None:
        """Let something happen to an agent; now and then a deadline passes."""
        ident = self.random.choice(list(self.agents))
        state = self.agents[ident].state
        if state.active is not None and state.lifecycle is Lifecycle.READY and self.random.random() < 0.6:
            await self._take(ident, *self._work(state.attempt, state.active.id))
            return
        options = moves(state, self.random)
        given = self.random.choices(options, [BIAS.get(type(each), 1) for each in options])[0]
        deadline = next_deadline(state)
        if isinstance(given, DeadlinePassed) and deadline is not None and self.random.random() < 0.5:
            self.ground.clock.advance(max(0, deadline - self.ground.clock.now()))
        await self._take(ident, given)

    def _work(self, attempt: int, task: str) -> list[Input]:
        """Let a task end in one of its ways, and now and then have another one queued before."""
        reason = self.random.choice(["end_turn", "end_turn", "end_turn", "refusal", "max_tokens"])
        ends = [PromptAnswered(attempt, task, reason, 1), PromptBroke(attempt, task, "400 bad request")]
        more = [Send("more")] if self.random.random() < 0.5 else []
        return [*more, Heard(attempt, (MessageEntry("agent", "All done."),)), self.random.choice(ends)]

    async def _end(self, ident: str) -> None:
        by = self.random.choice(["operator", "manager", "parent"])
        stop = StopSubagent(Reason.STOPPED_BY_OPERATOR, by, "the house is closed")
        halted = Halted(self.agents[ident].state.attempt, confirmed=self.random.random() < 0.8)
        await self._take(ident, stop, halted)

    # ---- the manager

    async def _restart(self) -> None:
        """Kill the manager: what it held in memory is gone, and every agent's channel with it."""
        if self.random.random() < 0.3:
            self.ground.clock.boot += "'"
        await self.ground.reopen()
        for parent in self.parents:
            parent.begun = [turn for turn in parent.begun if self.random.random() < 0.5]
        for ident, known in list(self.agents.items()):
            loaded = await self.ground.store.load(ident)
            assert loaded is not None
            assert loaded.version == known.version == len(self.logs[ident]), "a commit that returned is gone"
            self.agents[ident] = loaded
            if (last := await self.ground.store.left_at(ident)) is not None:
                await self._take(ident, Rebooted(last))
            state = self.agents[ident].state
            if state.lifecycle is Lifecycle.READY:
                await self._take(ident, ChannelClosed(state.attempt, "the manager ended"))
            elif state.lifecycle is Lifecycle.STARTING:
                await self._take(ident, StartBroke(state.attempt, "the manager ended", "manager_ended"))

    # ---- parents

    async def _rotate(self) -> None:
        parent = self.random.choice(self.parents)
        new = f"{parent.names[0]}, {len(parent.names)}"
        if self.random.random() < 0.5:
            # The host uses its new name before it says so.
            parent.count += 1
            await self.ground.store.begin_turn(new, self.random.choice(DOORS), f"early {parent.count}")
        await self.ground.store.alias(self.random.choice(parent.names), new)
        parent.names.append(new)

    async def _begin(self, parent: Parent) -> TurnContext:
        """Begin a turn under any of the parent's names; asked for again it has the same bytes, if it is stored."""
        store, name, door = self.ground.store, self.random.choice(parent.names), self.random.choice(DOORS)
        parent.count += 1
        origin = self.random.choice(list(Origin))
        turn = await store.begin_turn(name, door, f"t{parent.count}", origin=origin)
        check_new_turn(parent.told, turn, self._children(parent))
        if self.random.random() < 0.2 and turn.token != UNTOLD:
            again = await store.begin_turn(
                self.random.choice(parent.names), self.random.choice(DOORS), f"t{parent.count}"
            )
            assert again == turn, "the same turn has other bytes"
        if self.commits_first:
            await self._acknowledge(parent, turn)
        return turn

    async def _acknowledge(self, parent: Parent, turn: TurnContext) -> None:
        for _ in range(self.random.choice([1, 1, 2])):
            await self.ground.store.commit_turn(turn.token)
        parent.told.acknowledged.update(turn.nudges)

    async def _turn(self) -> None:
        """Begin a turn, or let one that was begun go on: it fails unseen, fails after it was seen, or succeeds."""
        parent = self.random.choice(self.parents)
        if not parent.begun or self.random.random() < 0.5:
            parent.begun.append(await self._begin(parent))
            return
        turn = parent.begun.pop(self.random.randrange(len(parent.begun)))
        fate = self.random.random()
        if fate < 0.3:
            return
        parent.told.seen.update(read(turn))
        if fate > 0.5:
            await self._acknowledge(parent, turn)

    def _children(self, parent: Parent) -> list[Subagent]:
        return [each.state for ident, each in self.agents.items() if self._parent_of(ident) is parent]

    # ---- one step, and the judgement

    async def _step(self) -> None:
        chance = self.random.random()
        if chance < 0.55:
            await self._move()
        elif chance < 0.88:
            await self._turn()
        elif chance < 0.95:
            self.ground.clock.advance(self.random.choice([1, 10_000, milliseconds(RULES.claim)]))
        elif chance < 0.98:
            await self._rotate()
        else:
            await self._restart()

    async def _revive(self, parent: Parent) -> bool:
        """Have the operator look after the dead letters of a parent; return whether there were any."""
        dead = "SELECT id FROM nudge WHERE state = 'dead' AND parent = ?"
        rows = await self.ground.store.query(dead, parent.names[0])
        for row in rows:
            await self.ground.store.revive(self.random.choice([None, *parent.names]), row["id"])
        return bool(rows)

    async def _judge(self) -> None:
        """Let every parent take turns without a failure until it is told nothing new: then all must be told."""
        self.ground.clock.advance(milliseconds(RULES.claim))
        for parent in self.parents:
            while (turn := await self._begin(parent)).nudges or await self._revive(parent):
                parent.told.seen.update(read(turn))
                await self._acknowledge(parent, turn)
        for ident, committed in self.agents.items():
            check_told(self._parent_of(ident).told, committed.state, self.logs[ident])
