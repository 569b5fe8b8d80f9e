"""Two owners of one store on a real engine: the earlier one takes nothing from the later one."""

import dataclasses

import pytest

from sandbox.container import Sandbox
from sandbox.errors import Fenced
from sandbox.ownership import Owner
from sandbox.removal import remove_containers, remove_volumes
from sandbox.spec import LABEL
from tests.docker.conftest import IDLE, NEVER_STARTED, TEST_LABELS

pytestmark = pytest.mark.docker


@pytest.fixture
def owned(store, make_spec):
    """A specification of the store's owner of an epoch, and the labels of its subagent."""

    def make(epoch: int, **fields):
        labels = {**TEST_LABELS, **Owner.of_this_process(store, epoch).labels()}
        return make_spec(labels=labels, **fields)

    return make


@pytest.fixture
def subagent(store):
    return {f"{LABEL}store": store, f"{LABEL}subagent": "one"}


async def test_what_is_made_says_who_made_it(engine, store, owned, make_sandbox):
    owner = Owner.of_this_process(store, 7)
    sandbox = await make_sandbox(labels=owned(7).labels, home=False)
    container = await engine.inspect_container(sandbox.id)
    volume = await engine.inspect_volume(sandbox.spec.work_volume)
    assert Owner.of_labels(container["Config"]["Labels"]) == owner
    assert volume is not None
    assert Owner.of_labels(volume["Labels"]) == owner


@pytest.mark.requirement("D09.4")
async def test_an_earlier_owner_does_not_replace_the_container_of_a_later_one(engine, owned, make_sandbox):
    later = await make_sandbox(labels=owned(2).labels, work=False, home=False)
    with pytest.raises(Fenced, match=r"later manager \(epoch 2\) owns the container"):
        await Sandbox.create(engine, owned(1, work=False, home=False))
    assert (await later.fate()).state == "running"


async def test_a_later_owner_replaces_the_container_of_an_earlier_one(owned, make_sandbox):
    earlier = await make_sandbox(labels=owned(1).labels, work=False, home=False)
    await make_sandbox(labels=owned(2).labels, work=False, home=False)
    assert (await earlier.fate()).state == "gone"


async def test_an_earlier_owner_makes_nothing_beside_a_later_attempt(engine, owned, make_sandbox):
    await make_sandbox(labels=owned(1).labels, home=False)
    later = await make_sandbox(labels=owned(2).labels, home=False, attempt=2)
    for role in ("agent", "workspace"):
        with pytest.raises(Fenced, match=r"epoch 2\) owns the container"):
            await Sandbox.create(engine, owned(1, home=False, attempt=3, role=role))
    assert (await later.fate()).state == "running"


async def test_an_earlier_owner_does_not_mount_the_volumes_of_a_later_one(engine, owned, make_sandbox):
    later = await make_sandbox(labels=owned(2).labels)
    assert await later.remove()
    with pytest.raises(Fenced, match=r"later manager \(epoch 2\) owns the volume"):
        await Sandbox.create(engine, owned(1))
    for volume in later.spec.volumes:
        assert await engine.inspect_volume(volume) is not None, "it is no part of what this try made"


@pytest.mark.requirement("D09.4")
async def test_an_earlier_owner_removes_nothing_where_a_later_one_has_been(engine, owned, subagent, make_sandbox):
    first = await make_sandbox(labels=owned(1).labels, home=False)
    second = await make_sandbox(labels=owned(2).labels, home=False, attempt=2)
    with pytest.raises(Fenced, match=r"epoch 2\) owns the container"):
        await remove_containers(engine, subagent, 1)
    with pytest.raises(Fenced, match=r"epoch 2\) owns the container"):
        await remove_volumes(engine, subagent, 1)
    assert [(await each.fate()).state for each in (first, second)] == ["running", "running"]


async def test_an_earlier_owner_removes_no_volume_that_a_later_one_made(engine, owned, subagent, make_sandbox):
    later = await make_sandbox(labels=owned(2).labels, home=False)
    assert await later.remove()
    with pytest.raises(Fenced, match=r"epoch 2\) owns the volume"):
        await remove_volumes(engine, subagent, 1)
    assert await engine.inspect_volume(later.spec.work_volume) is not None


async def test_an_owner_removes_what_it_and_earlier_ones_made(engine, owned, subagent, make_sandbox):
    await make_sandbox(labels=owned(1).labels, home=False)
    await make_sandbox(labels=owned(2).labels, home=False, attempt=2)
    await remove_containers(engine, subagent, 2)
    await remove_volumes(engine, subagent, 2)
    assert await engine.containers(subagent) == []
    assert await engine.volumes(subagent) == []


async def test_an_epoch_that_cannot_be_read_is_left_alone(engine, owned):
    spec = owned(5, work=False, home=False)
    settings = {"image": spec.image, "entrypoint": list(IDLE), "host_config": NEVER_STARTED}
    odd = await engine.create_container(spec.name, {**settings, "labels": {**spec.all_labels, f"{LABEL}epoch": "many"}})
    try:
        with pytest.raises(Fenced, match="cannot be read"):
            await Sandbox.create(engine, dataclasses.replace(spec))
        assert (await engine.inspect_container(spec.name))["Id"] == odd
    finally:
        await engine.remove_container(odd)
