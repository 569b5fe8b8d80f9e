"""The reaper of a runtime: when it looks, what the log tells it, and who may ask for it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.clock import SystemClock
from acp_runtime.config import load
from acp_runtime.core.errors import Rejected
from acp_runtime.manager.launcher import Action, Judgement, Kind, LaunchError, Log, Standing
from acp_runtime.manager.reaping import reap_folders, reap_run_dirs
from acp_runtime.manager.run_dir import make_run_dir
from acp_runtime.places import FOLDER, runtime_dir, runtime_dirs
from acp_runtime.service import Runtime
from acp_runtime.views import Reaped
from sandbox.claimed import claimed
from sandbox.ownership import Owner
from tests.integration.manager.conftest import BOUND, PARENT, Ground
from tests.integration.service.conftest import Bench

OWNER = Owner.of_this_process("store", 2)
REMOVED = Judgement(Kind.CONTAINER, "acp-x-1", "c1", Action.REMOVED, "its subagent is over")


@dataclass
class Reapers(Ground):
    """A ground whose launcher tells of each pass: what it was asked for, and what the log said of `asks`."""

    asks: frozenset[str] = frozenset()
    fails: Exception | None = None
    passes: "asyncio.Queue[tuple[Mapping[str, Standing], dict[str, object]]]" = field(default_factory=asyncio.Queue)
    going: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1000))
    at_once: list[int] = field(default_factory=list)

    async def reap_all(self, log: Log, **how: object) -> list[Judgement]:
        self.at_once.append(1)
        await self.going.acquire()
        self.passes.put_nowait((await log(self.asks), how))
        self.at_once.pop()
        if self.fails is not None:
            raise self.fails
        return [REMOVED]

    async def seen(self) -> tuple[Mapping[str, Standing], dict[str, object]]:
        async with asyncio.timeout(BOUND):
            return await self.passes.get()


@pytest.fixture
def ground(ground: Ground) -> Reapers:
    return Reapers(ground.folder, kinds=ground.kinds)


@pytest.fixture
async def runtime(bench: Bench) -> Runtime:
    return bench.runtime


@asynccontextmanager
async def opened(ground: Reapers, every: float | None) -> AsyncIterator[Runtime]:
    config = load(None, {"HOME": str(ground.folder), "XDG_RUNTIME_DIR": ""})
    config = replace(config, daemon=replace(config.daemon, reap=every))
    async with Runtime.open(ground.path, launcher=ground, config=config, clock=SystemClock()) as runtime:
        yield runtime


@pytest.mark.parametrize("fails", [None, LaunchError("engine_unreachable", "nothing answers"), RuntimeError("a bug")])
@pytest.mark.requirement("D09.1")
async def test_it_looks_at_the_start_and_every_so_often_whatever_happens(
    ground: Reapers, fails: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    ground.fails = fails
    async with opened(ground, every=0.01):
        for _ in range(3):
            assert (await ground.seen())[1] == {"dry_run": False, "volumes_of": frozenset()}
    told = {record.levelname for record in caplog.records if record.name.endswith("reaping")}
    assert told <= ({"ERROR"} if isinstance(fails, RuntimeError) else {"INFO"})


async def test_it_looks_only_when_asked_where_that_is_configured(ground: Reapers) -> None:
    async with opened(ground, every=None) as runtime:
        assert await runtime.reap(OPERATOR) == Reaped((REMOVED,), dry_run=False)
        await ground.seen()
        assert ground.passes.empty()


async def test_one_pass_runs_at_a_time(ground: Reapers) -> None:
    ground.going = asyncio.Semaphore(0)
    async with opened(ground, every=None) as runtime:
        passes = [asyncio.create_task(runtime.reap(OPERATOR)) for _ in range(3)]
        for _ in passes:
            ground.going.release()
            await ground.seen()
            assert len(ground.at_once) <= 1
        await asyncio.gather(*passes)


async def test_the_log_says_which_attempt_lives_and_what_is_kept(ground: Reapers, bench: Bench) -> None:
    runtime = bench.runtime
    await ground.seen()

    async def spawned(*, keep: bool = False) -> str:
        view = await runtime.spawn(PARENT, ground.request("[[say:x]]", keep=keep))
        await runtime.wait(PARENT, [view.id], seconds=BOUND)
        return view.id

    living, resumed, over, kept, removed = [await spawned(keep=keep) for keep in (False, True, False, True, True)]
    for ident in (resumed, over, kept, removed):
        await runtime.stop(PARENT, ident)
    await runtime.resume(PARENT, resumed, "[[say:on]]")
    await runtime.wait(PARENT, [resumed], seconds=BOUND)
    await runtime.remove(PARENT, removed)
    ground.asks = frozenset({living, resumed, over, kept, removed, "bg-unknown", "x'; DROP TABLE event"})
    await runtime.reap(OPERATOR)
    standings, _ = await ground.seen()
    assert standings == {
        living: Standing(1),
        resumed: Standing(2, "it can be started again"),
        over: Standing(None),
        kept: Standing(None, "it can be started again"),
        removed: Standing(None),
    }


async def test_work_that_could_not_be_taken_out_is_kept(ground: Reapers, bench: Bench) -> None:
    await ground.seen()
    view = await bench.runtime.spawn(PARENT, ground.request("[[say:x]]"))
    await bench.runtime.wait(PARENT, [view.id], seconds=BOUND)
    ground.end_fails = RuntimeError("no export")
    ended = await bench.runtime.stop(PARENT, view.id)
    assert not ended.exported
    ground.asks = frozenset({view.id})
    await bench.runtime.reap(OPERATOR)
    assert (await ground.seen())[0] == {view.id: Standing(None, "its work could not be taken out")}


@pytest.mark.requirement("D09.1")
async def test_what_a_removal_that_was_cut_short_left_of_the_work_goes(ground: Reapers, bench: Bench) -> None:
    """The log of the subagent had been deleted when its manager was killed, and the files of its work had not."""
    runtime, work = bench.runtime, ground.path.with_name("work")
    work.mkdir(exist_ok=True)
    views = [await runtime.spawn(PARENT, ground.request("[[say:x]]")) for _ in range(2)]
    for each in views:
        await runtime.wait(PARENT, [each.id], seconds=BOUND)
        await runtime.stop(PARENT, each.id)
    kept, removed = [view.id for view in views]
    await runtime.remove(PARENT, removed)
    names = [
        f"{ident}.{what}" for ident in (kept, removed, "bg-unknown") for what in ("json", "patch", "patch.partial")
    ]
    for each in names:
        (work / each).write_text("x")
    for dry_run, action in ((True, Action.REMOVE), (False, Action.REMOVED)):
        found = (await runtime.reap(OPERATOR, dry_run=dry_run)).judgements[1:]
        assert [(each.kind, each.name, each.action) for each in found] == [(Kind.WORK, str(work / removed), action)]
    assert sorted(each.name for each in work.iterdir()) == sorted(each for each in names if removed not in each)
    assert (await runtime.reap(OPERATOR)).judgements == (REMOVED,)


async def test_only_the_operator_may_ask_for_it(ground: Reapers, runtime: Runtime) -> None:
    await ground.seen()
    with pytest.raises(Rejected) as refused:
        await runtime.reap(PARENT)
    assert refused.value.kind == "operator_only"
    assert ground.passes.empty()


async def test_what_is_wished_is_passed_on(ground: Reapers, runtime: Runtime) -> None:
    await ground.seen()
    assert (await runtime.reap(OPERATOR, dry_run=True, volumes_of=("0123abcd",))).dry_run
    assert (await ground.seen())[1] == {"dry_run": True, "volumes_of": frozenset({"0123abcd"})}


@pytest.mark.requirement("D09.1")
async def test_folders_of_probes_and_workspaces_go_with_their_process(tmp_path: Path) -> None:
    config = load(None, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": ""})
    config = replace(config, runtime_dir=tmp_path / "run", cache_dir=tmp_path / "cache")
    left = [config.cache_dir / "scratch" / "snapshot-abcd1234", config.runtime_dir / "pabcd1234"]
    for folder in left:
        folder.mkdir(parents=True)

    async def log(_subagents: frozenset[str]) -> Mapping[str, Standing]:
        return {}

    with claimed(config.cache_dir / "scratch", "snapshot-") as held:
        for dry_run in (True, False):
            found = await reap_folders(config, OWNER, log, dry_run=dry_run)
            gone = Action.REMOVE if dry_run else Action.REMOVED
            assert sorted((each.name, each.action) for each in found) == sorted((str(each), gone) for each in left)
            assert [each.exists() for each in left] == [dry_run, dry_run]
        assert held.is_dir()


@pytest.mark.requirement("D09.1")
async def test_folders_of_sockets_go_from_where_an_earlier_manager_had_them_if_that_is_ours(tmp_path: Path) -> None:
    config = load(None, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": ""})
    config = replace(config, runtime_dir=tmp_path / "run", cache_dir=tmp_path / "cache")
    elsewhere = [tmp_path / name for name in ("run", "before", "open", "read", "linked")]
    for each in elsewhere[1:4]:
        for name in ("lives", "over"):
            (each / "store" / name).mkdir(parents=True)
    elsewhere[1].chmod(0o700)
    elsewhere[2].chmod(0o770)
    elsewhere[3].chmod(0o750)
    elsewhere[4].symlink_to(elsewhere[1])

    async def log(_subagents: frozenset[str]) -> Mapping[str, Standing]:
        return {"lives": Standing(3), "over": Standing(None)}

    found = await reap_folders(config, OWNER, log, dry_run=False, elsewhere=elsewhere)
    assert [(each.name, each.action) for each in found] == [
        (str(elsewhere[1] / "store" / "lives"), Action.KEEP), (str(elsewhere[1] / "store" / "over"), Action.REMOVED),
    ]  # fmt: skip
    assert sorted(each.name for each in (elsewhere[1] / "store").iterdir()) == ["lives"]
    for each in elsewhere[2:4]:
        assert sorted(path.name for path in (each / "store").iterdir()) == ["lives", "over"]


@pytest.mark.requirement("T18")
async def test_a_link_in_the_place_of_the_folder_of_sockets_costs_nothing_where_it_leads(tmp_path: Path) -> None:
    """Where there is no folder of the login, its name is one in /tmp, which anybody may have taken first."""
    config = load(None, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": ""})
    config = replace(config, runtime_dir=tmp_path / "run", cache_dir=tmp_path / "cache")
    for kept in ("evil", "home/papers"):
        (tmp_path / kept).mkdir(parents=True)
    config.runtime_dir.symlink_to(tmp_path / "evil")
    (tmp_path / "evil" / OWNER.store).symlink_to(tmp_path / "home")

    async def log(_subagents: frozenset[str]) -> Mapping[str, Standing]:
        return {}

    assert await reap_folders(config, OWNER, log, dry_run=False) == []
    assert (tmp_path / "home" / "papers").is_dir()


@pytest.mark.requirement("D09.1")
def test_an_earlier_manager_may_have_had_another_environment(tmp_path: Path) -> None:
    found = runtime_dirs({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert (found[0], found[-1]) == (tmp_path / FOLDER, runtime_dir({}))
    assert len(found) == len(set(found))


@pytest.mark.requirement("D09.1")
async def test_folders_of_sockets_go_with_their_subagent(tmp_path: Path) -> None:
    for name in ("lives", "over", "unknown"):
        (tmp_path / "store" / name / "holder").mkdir(parents=True)
    make_run_dir(tmp_path, "store", "resumed", OWNER.epoch + 1)
    (tmp_path / "another" / "over").mkdir(parents=True)

    async def log(subagents: frozenset[str]) -> Mapping[str, Standing]:
        assert subagents == {"lives", "over", "resumed", "unknown"}
        return {"lives": Standing(3), "over": Standing(None, "kept"), "resumed": Standing(None)}

    for dry_run in (True, False):
        gone = Action.REMOVE if dry_run else Action.REMOVED
        found = await reap_run_dirs(tmp_path, OWNER, log, dry_run=dry_run)
        assert [(Path(each.name).name, each.action) for each in found] == [
            ("lives", Action.KEEP), ("over", gone), ("resumed", Action.UNTOUCHED), ("unknown", gone),
        ]  # fmt: skip
        assert (tmp_path / "store" / "over").exists() is dry_run
    assert (tmp_path / "store" / "lives" / "holder").is_dir()
    assert (tmp_path / "store" / "resumed" / "holder").is_dir()
    assert (tmp_path / "another" / "over").is_dir()
