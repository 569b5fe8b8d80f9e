"""The reaper on a real engine: what goes, what stays, and what may happen between its look and its hand.

Other tests run beside these on the same engine, and their managers reap too. So what is to be
seen before it goes is made as a living process's, which only the reaper of the test takes for dead.
"""

import asyncio
import subprocess
from dataclasses import replace

import pytest

from sandbox.container import Sandbox
from sandbox.hold import Hold
from sandbox.holder.dead import replay
from sandbox.holder.frames import Cause, Phase
from sandbox.holder.reader import journal_of, reader
from sandbox.judgement import Action, Standing
from sandbox.ownership import Owner, start_time
from sandbox.programs_volume import HOLDER, PROGRAMS_MOUNT, RELAY, ensure_programs
from sandbox.reaper import Reaper
from sandbox.spec import LABEL, VolumeMount
from tests.contract.holder.held import Heard
from tests.docker.conftest import IDLE, NEVER_STARTED, TEST_LABELS

pytestmark = pytest.mark.docker

ENDS = ("true",)
LIVES = Standing(1)
OVER = Standing(None)


@pytest.fixture
def me(store):
    return Owner.of_this_process(store, 2)


@pytest.fixture
def other(me):
    """The owner of another store: a process that lives, but not for a reaper with `started=without(other)`."""
    with subprocess.Popen(["sleep", "infinity"]) as process:
        yield replace(me, store=me.store[::-1], epoch=1, pid=process.pid, started=start_time(process.pid))
        process.kill()


def without(owner):
    """Tell when processes began as the system does, but that this one is dead."""
    return lambda pid: None if pid == owner.pid else start_time(pid)


@pytest.fixture
async def make(engine, make_spec, me, store):
    """Make a sandbox as its owner would, by default this process as it was before; all are removed after the test."""
    made = []

    async def make(subagent="one", maker=None, *, ended=False, volumes=False, **fields) -> Sandbox:
        maker = maker or replace(me, epoch=1)
        labels = {**TEST_LABELS, **maker.labels(), f"{LABEL}test-store": store}
        command = ENDS if ended else IDLE
        given = {"labels": labels, "subagent": subagent, "work": volumes, "home": False, "command": command, **fields}
        spec = replace(make_spec(**given), store=maker.store)
        sandbox = await Sandbox.create(engine, spec)
        made.append(sandbox)
        if ended:
            await engine.wait_container(sandbox.id, bound=20)
        return sandbox

    yield make
    for sandbox in made:
        assert await sandbox.remove()
    for sandbox in made:
        assert await sandbox.remove(volumes=True)


@pytest.fixture
def reaper(engine, me):
    """A reaper whose log says this of subagents; it says the next word at each time that it is asked."""

    def make(*words, **fields) -> Reaper:
        said = list(words)

        async def log(_subagents):
            word = said.pop(0) if len(said) > 1 else said[0]
            return await word() if callable(word) else word

        return Reaper(engine=engine, owner=me, log=log, **fields)

    return make


async def actions(reaper: Reaper, *things, dry_run: bool = False) -> list[Action | None]:
    """Run a pass and return what it did with some sandboxes or names."""
    judgements = await reaper.run(dry_run=dry_run)
    by_id = {each.id: each.action for each in judgements}
    return [by_id.get(each.id if isinstance(each, Sandbox) else each) for each in things]


async def state(sandbox: Sandbox) -> str:
    return (await sandbox.fate()).state


@pytest.mark.requirement("D09.1")
async def test_what_the_log_does_not_know_as_alive_goes_in_full(engine, make, reaper):
    lives, over, unknown = [await make(name, volumes=True) for name in ("one", "two", "three")]
    earlier = await make("four")
    log = {"one": LIVES, "two": OVER, "four": Standing(2)}
    done = await actions(
        reaper(log),
        *(lives, over, unknown, earlier),
        *(lives.spec.work_volume, over.spec.work_volume, unknown.spec.work_volume),
    )
    assert done == [Action.KEEP, *[Action.REMOVED] * 3, Action.KEEP, Action.REMOVED, Action.UNTOUCHED]
    assert [await state(each) for each in (lives, over, unknown, earlier)] == ["running", "gone", "gone", "gone"]
    assert await engine.inspect_volume(over.spec.work_volume) is None
    assert await engine.inspect_volume(unknown.spec.work_volume) is not None


@pytest.mark.requirement("D09.3")
async def test_volumes_that_may_be_wanted_stay_without_their_container(engine, make, reaper):
    kept = await make(volumes=True)
    log = {"one": Standing(None, "its work could not be taken out")}
    assert await actions(reaper(log), kept, kept.spec.work_volume) == [Action.REMOVED, Action.KEEP]
    assert await engine.inspect_volume(kept.spec.work_volume) is not None


@pytest.mark.requirement("D09.1")
async def test_half_made_things_go(engine, make_spec, me, reaper):
    labels = {**TEST_LABELS, **replace(me, epoch=1).labels()}
    created = make_spec(labels=labels, subagent="never-started", work=False, home=False)
    helper = make_spec(labels=labels, role="workspace", work=False, home=False)
    ids = []
    for spec, name in ((created, created.name), (helper, helper.name), (helper, f"{created.name}-owner")):
        given = (
            {**spec.all_labels, f"{LABEL}subagent": created.subagent} if name.endswith("-owner") else spec.all_labels
        )
        settings = {"image": spec.image, "entrypoint": list(IDLE), "labels": given, "host_config": NEVER_STARTED}
        ids.append(await engine.create_container(name, settings))
    assert await actions(reaper({"one": LIVES}), *ids) == [Action.REMOVED] * 3


async def test_a_dry_run_removes_nothing_and_says_what_it_would(engine, make, reaper):
    over = await make(volumes=True)
    done = await actions(reaper({"one": OVER}), over, over.spec.work_volume, dry_run=True)
    assert done == [Action.REMOVE, Action.REMOVE]
    assert await state(over) == "running"
    assert await engine.inspect_volume(over.spec.work_volume) is not None


@pytest.mark.requirement("D09.3")
async def test_a_living_maker_of_another_store_loses_nothing(engine, make, other, reaper):
    things = [await make("one", other), await make("two", other, ended=True, volumes=True)]
    volume = things[1].spec.work_volume
    done = await actions(reaper({}, volumes_of=frozenset({other.store})), *things, volume)
    assert done == [Action.KEEP, Action.KEEP, Action.KEEP]
    assert [await state(each) for each in things] == ["running", "exited"]
    assert await engine.inspect_volume(volume) is not None


async def test_a_dead_maker_of_another_store_loses_what_has_ended_but_no_volume(engine, make, other, reaper):
    runs, ended = await make("one", other), await make("two", other, ended=True, volumes=True)
    done = await actions(reaper({}, started=without(other)), runs, ended, ended.spec.work_volume)
    assert done == [Action.KEEP, Action.REMOVED, Action.UNTOUCHED]
    assert [await state(each) for each in (runs, ended)] == ["running", "gone"]
    assert await engine.inspect_volume(ended.spec.work_volume) is not None


async def held(engine, image, make, other, *argv: str, ttl: float) -> Sandbox:
    """Return the sandbox of an agent of another store below a holder that waits so many seconds for a manager."""
    programs = VolumeMount(await ensure_programs(engine, image), PROGRAMS_MOUNT)
    first = (RELAY, "listen", "/run/relay.sock", "127.0.0.1:8790")
    agents = await make("one", other, command=first, mounts=(programs,), volumes=True, journal=True)
    hold = Hold(agents, HOLDER, "/run/holder", None)
    await hold.start(argv, cwd="/", env={"PATH": "/usr/bin:/bin"}, token="t" * 32, epoch=1, ttl=ttl)
    return agents


@pytest.mark.requirement("D09.1")
async def test_an_agent_that_nobody_comes_for_ends_with_its_container_and_another_store_removes_that(
    engine, image, make, other, reaper
):
    agents = await held(engine, image, make, other, "sleep", "1000", ttl=1)
    own = (agents.spec.work_volume, agents.spec.journal_volume)
    assert await engine.wait_container(agents.id, bound=30) == 0
    async with reader(engine, agents.spec, image) as sandbox:
        nobody = Heard()
        state = await replay(sandbox.open_channel, journal_of(1), nobody, nobody)
    assert (state.phase, state.cause) == (Phase.ENDED, Cause.TTL)
    assert await actions(reaper({}, started=without(other)), agents, *own) == [Action.REMOVED, *[Action.UNTOUCHED] * 2]
    passes = reaper({}, started=without(other), volumes_of=frozenset({other.store}))
    assert await actions(passes, *own) == [Action.REMOVED] * 2


@pytest.mark.requirement("D09.1")
async def test_a_container_whose_holder_was_killed_goes_with_its_dead_maker_and_its_journal_stays(
    engine, image, make, other, reaper
):
    agents = await held(engine, image, make, other, "sh", "-c", "echo said; exec sleep 1000", ttl=3600)
    kept = (agents.spec.work_volume, agents.spec.journal_volume)
    assert await actions(reaper({}, started=without(other)), agents, *kept) == [Action.KEEP, *[Action.UNTOUCHED] * 2]
    done = await agents.run(["pkill", "-KILL", "holder"], cwd="/", limit_bytes=1000, timeout=20, user="0:0")
    assert done.exit_code == 0
    assert await actions(reaper({}), agents) == [Action.KEEP], "its maker lives"
    done = await actions(reaper({}, started=without(other)), agents, *kept)
    assert done == [Action.REMOVED, Action.UNTOUCHED, Action.UNTOUCHED]
    assert await state(agents) == "gone"
    async with reader(engine, agents.spec, image) as sandbox:
        heard = Heard()
        await replay(sandbox.open_channel, journal_of(1), heard, heard)
    assert heard.stdout == b"said\n"


@pytest.mark.requirement("D09.1")
async def test_a_maker_whose_pid_is_another_processs_now_is_dead(make, other, reaper):
    runs, ended = await make("one", other), await make("two", other, ended=True)

    def reused(pid):
        began = start_time(pid)
        return began + 1 if pid == other.pid else began

    assert await actions(reaper({}), runs, ended) == [Action.KEEP, Action.KEEP]
    assert await actions(reaper({}, started=reused), runs, ended) == [Action.KEEP, Action.REMOVED]
    assert [await state(each) for each in (runs, ended)] == ["running", "gone"]


async def test_volumes_of_a_dead_maker_go_when_its_store_is_named(engine, make, other, reaper):
    ended = await make("one", other, ended=True, volumes=True)
    passes = reaper({}, started=without(other), volumes_of=frozenset({other.store}))
    assert await actions(passes, ended, ended.spec.work_volume) == [Action.REMOVED, Action.REMOVED]
    assert await engine.inspect_volume(ended.spec.work_volume) is None


@pytest.mark.requirement("D09.3")
async def test_a_maker_in_another_pid_namespace_loses_nothing(make, other, reaper):
    ended = await make("one", replace(other, pid_namespace="1"), ended=True)
    assert await actions(reaper({}, started=without(other)), ended) == [Action.UNTOUCHED]
    assert await state(ended) == "exited"


@pytest.mark.requirement("D09.3")
async def test_foreign_containers_and_forged_labels_are_never_touched(engine, store, image, me, reaper):
    mine = {**TEST_LABELS, **replace(me, epoch=1).labels()}
    whole = {**mine, f"{LABEL}subagent": "one", f"{LABEL}attempt": "1", f"{LABEL}role": "agent"}
    forged = {
        f"acp-{store[:8]}-foreign-1": dict(TEST_LABELS),
        f"forged-{store}": whole,
        f"acp-{store[:8]}-one-2": whole,
        f"acp-{store[:8]}-one-1": {**whole, f"{LABEL}pid": "1; reboot"},
    }
    ids = []
    try:
        for name, labels in forged.items():
            settings = {"image": image, "entrypoint": list(IDLE), "labels": labels, "host_config": NEVER_STARTED}
            ids.append(await engine.create_container(name, settings))
        assert await actions(reaper({}), *ids) == [None, *[Action.UNTOUCHED] * 3]
        assert [(await engine.inspect_container(each))["Id"] for each in ids] == ids
    finally:
        for each in ids:
            await engine.remove_container(each)


@pytest.mark.requirement("D09.3")
async def test_what_began_to_live_after_the_first_look_stays(make, reaper):
    resumed = await make(volumes=True)
    done = await actions(reaper({"one": OVER}, {"one": LIVES}), resumed, resumed.spec.work_volume)
    assert done == [Action.KEEP, Action.KEEP]
    assert await state(resumed) == "running"


async def test_what_was_started_after_the_first_look_stays(engine, make_spec, other, reaper):
    spec = replace(make_spec(labels={**TEST_LABELS, **other.labels()}, work=False, home=False), store=other.store)
    settings = {"image": spec.image, "entrypoint": list(IDLE), "labels": spec.all_labels, "host_config": NEVER_STARTED}
    created = await engine.create_container(spec.name, settings)

    async def start():
        await engine.start_container(created)
        return {}

    try:
        assert await actions(reaper({}, started=without(other)), created, dry_run=True) == [Action.REMOVE], "before"
        assert await actions(reaper(start, {}, started=without(other)), created) == [Action.KEEP]
        assert (await engine.inspect_container(created))["State"]["Running"]
    finally:
        await engine.remove_container(created)


async def test_what_was_replaced_after_the_first_look_stays(engine, make, me, store, reaper):
    over = await make(volumes=True)
    name = over.spec.work_volume
    assert await over.remove()

    async def replaced():
        await engine.remove_volume(name)
        await engine.create_volume(name, {**TEST_LABELS, f"{LABEL}store": store})
        return {"one": OVER}

    assert await actions(reaper(replaced, {"one": OVER}), name) == [Action.UNTOUCHED]
    assert await engine.inspect_volume(name) is not None


async def test_a_removal_that_fails_costs_the_others_nothing(engine, make, make_sandbox, reaper):
    blocked, free = await make("one", volumes=True), await make("two", volumes=True)
    names = blocked.spec.work_volume, free.spec.work_volume
    labels = {**TEST_LABELS, f"{LABEL}epoch": "9"}
    user = await make_sandbox(
        subagent="three", labels=labels, work=False, home=False, mounts=(VolumeMount(names[0], "/mnt"),)
    )
    done = await actions(reaper({"one": OVER, "two": OVER}), blocked, free, *names)
    assert done == [Action.REMOVED, Action.REMOVED, Action.FAILED, Action.REMOVED]
    assert await state(user) == "running"


async def test_a_pass_is_bounded_and_the_next_goes_on(make, reaper):
    over = [await make(name) for name in ("one", "two", "three")]
    assert await actions(reaper({}, bound=0.0), *over) == [Action.REMOVE] * 3
    passes = reaper({}, most=2)
    assert sorted(await actions(passes, *over)) == [Action.REMOVE, Action.REMOVED, Action.REMOVED]
    assert Action.REMOVED in await actions(passes, *over)
    assert [await state(each) for each in over] == ["gone"] * 3


async def test_what_took_a_whole_pass_is_tried_last_in_the_next(engine, make, me, reaper):
    """The engine tells the newest first, so the stuck ones stand before the others."""
    free, *stuck = [await make(name) for name in ("one", "two", "three")]
    seen = []

    async def log(subagents):
        seen.extend(subagents if len(subagents) == 1 else ())
        if len(subagents) == 1 and hang and not subagents & {"one"}:
            await asyncio.Event().wait()
        return {}

    def next_pass(**fields) -> Reaper:
        return Reaper(engine=engine, owner=me, log=log, tried=tried, **fields)

    hang, tried = True, {}
    for _ in stuck:
        assert await actions(next_pass(bound=2.0), *stuck) == [Action.REMOVE, Action.REMOVE]
    hang = False
    assert await actions(next_pass(), free, *stuck) == [Action.REMOVED] * 3
    assert (seen, tried) == (["three", "two", "one", "three", "two"], {})
