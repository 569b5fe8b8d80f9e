"""What is removed and what is not: every rule on its own, and that nothing beyond the rules goes."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.agents_volume import AgentsVolume
from sandbox.judgement import ENDED, Action, Found, Kind, Standing, judge, subagents
from sandbox.ownership import UNKNOWN, Owner
from sandbox.spec import LABEL

ME = Owner("0123abcd", "a" * 32, "00000000-1111-2222-3333-444444444444", "4026531836", 100, 5000, 3)
OTHER = replace(ME, store="ffff9999", pid=200, started=7000, epoch=9)
ALIVE, GONE, HIDDEN, REUSED = 7000, None, 0, 8000


def container(maker: Owner = ME, *, subagent="s-1", attempt="2", role="agent", state="running", **changes) -> Found:
    labels = {"subagent": subagent, "attempt": attempt, "role": role}
    middle = "" if role == "agent" else f"-{role}"
    name = f"acp-{maker.store[:8]}-{subagent}{middle}-{attempt}"
    found = Found(Kind.CONTAINER, name, "c" * 64, _labels(maker, labels), state)
    return replace(found, **changes)


def volume(maker: Owner = ME, *, subagent="s-1", what="work", **changes) -> Found:
    name = f"acp-{maker.store[:8]}-{subagent}-{what}"
    return replace(Found(Kind.VOLUME, name, name, _labels(maker, {"subagent": subagent, "role": "agent"})), **changes)


def _labels(maker, more):
    return {**maker.labels(), **{LABEL + key: value for key, value in more.items()}}


def without(thing: Found, key: str) -> Found:
    return replace(thing, labels={name: value for name, value in thing.labels.items() if name != LABEL + key})


def told(thing: Found, log=None, started=ALIVE, **more) -> tuple[Action, str]:
    [judgement] = judge([thing], ME, log or {}, lambda _pid: started, **more)
    assert (judgement.kind, judgement.name, judgement.id) == (thing.kind, thing.name, thing.id)
    return judgement.action, judgement.why


LIVES = {"s-1": Standing(2)}
OVER = {"s-1": Standing(None)}
KEPT = {"s-1": Standing(None, "it can be started again")}


# ---- the own store


@pytest.mark.parametrize("state", ["created", "running", "exited", "paused"])
def test_the_container_of_a_living_attempt_stays(state):
    assert told(container(state=state), LIVES)[0] is Action.KEEP


@pytest.mark.parametrize(
    ("log", "why"),
    [({}, "does not know its subagent s-1"), (OVER, "s-1 is over"), (KEPT, "s-1 is over"),
     ({"s-1": Standing(3)}, "is at attempt 3, this is of attempt 2")],
)  # fmt: skip
@pytest.mark.parametrize("state", ["created", "running", "exited"])
@pytest.mark.parametrize("role", ["agent", "workspace"])
def test_the_container_of_none_that_lives_goes_whatever_its_state(log, why, state, role):
    action, said = told(container(replace(ME, epoch=2), state=state, role=role), log)
    assert action is Action.REMOVE
    assert why in said


def test_a_helper_of_this_manager_stays_and_one_of_an_earlier_goes():
    earlier = replace(ME, epoch=2)
    for name in ("acp-0123abcd-s-1-workspace-2", "acp-0123abcd-s-1-2-owner"):
        assert told(container(role="workspace", name=name), LIVES)[0] is Action.KEEP
        assert told(container(earlier, role="workspace", name=name), LIVES)[0] is Action.REMOVE
    assert told(container(earlier), LIVES)[0] is Action.KEEP, "the agent goes on under a later manager"


def test_what_this_manager_is_at_work_in_stays_though_its_subagent_is_over():
    guest = container(role="workspace")
    assert told(guest, OVER) == (Action.KEEP, "this manager is at work in it")
    assert told(replace(guest, state="exited"), OVER)[0] is Action.REMOVE
    assert told(replace(guest, state="created"), OVER)[0] is Action.REMOVE
    assert told(container(), OVER)[0] is Action.REMOVE, "an agent of its own is ended by it, or was forgotten"


def test_what_the_living_owner_of_a_copied_store_made_is_not_touched():
    copied = replace(ME, pid=200, started=7000)
    assert told(container(copied), {}, ALIVE)[0] is Action.UNTOUCHED
    for started in (GONE, HIDDEN, REUSED):
        assert told(container(copied), {}, started)[0] is Action.REMOVE
    assert told(container(), {}, ME.started)[0] is Action.REMOVE, "this process is no other owner"
    assert told(container(replace(copied, boot=UNKNOWN)), {}, ALIVE)[0] is Action.REMOVE
    assert told(container(copied), OVER, ALIVE)[0] is Action.REMOVE, "the log knows it: its manager was replaced"


def test_what_a_later_manager_made_is_not_touched():
    later = replace(ME, epoch=4)
    assert told(container(later)) == (Action.UNTOUCHED, "a later manager (epoch 4) made it")
    assert told(volume(later), OVER)[0] is Action.UNTOUCHED


@pytest.mark.parametrize("what", ["work", "home", "base", "journal"])
def test_a_volume_goes_only_when_the_log_says_that_nobody_wants_it(what):
    assert told(volume(what=what), OVER)[0] is Action.REMOVE
    assert told(volume(what=what), LIVES)[0] is Action.KEEP
    assert told(volume(what=what), KEPT) == (Action.KEEP, "its subagent s-1 is over, but it can be started again")
    action, why = told(volume(what=what), {})
    assert action is Action.UNTOUCHED
    assert "nor whether its work was taken out" in why


# ---- other stores


@pytest.mark.parametrize("started", [GONE, REUSED])
@pytest.mark.parametrize("state", sorted(ENDED))
def test_an_ended_container_of_a_dead_maker_goes(started, state):
    assert told(container(OTHER, state=state), started=started) == (
        Action.REMOVE,
        "of the store ffff9999; its maker, process 200, is dead",
    )


@pytest.mark.parametrize("state", ["running", "paused", "restarting", "removing", "", "new"])
def test_a_container_that_has_not_ended_is_its_holders(state):
    action, why = told(container(OTHER, state=state), started=GONE)
    assert action is Action.KEEP
    assert "its holder will end it" in why


def test_a_container_in_which_no_holder_is_left_goes_with_its_dead_maker():
    orphan = container(OTHER, held=False)
    action, why = told(orphan, started=GONE)
    assert (action, "nothing holds its agent any more" in why) == (Action.REMOVE, True)
    assert told(orphan, started=ALIVE)[0] is Action.KEEP
    assert told(orphan, started=HIDDEN)[0] is Action.UNTOUCHED
    for held in (True, None):
        assert told(replace(orphan, held=held), started=GONE)[0] is Action.KEEP
    assert told(replace(orphan, state="paused"), started=GONE)[0] is Action.KEEP
    assert told(container(OTHER, role="workspace", held=False), started=GONE)[0] is Action.KEEP
    assert told(container(held=False), LIVES)[0] is Action.KEEP, "its own manager finds out, and hears it out"


def test_what_a_living_maker_has_stays():
    assert told(container(OTHER, state="exited"), started=ALIVE)[0] is Action.KEEP


def test_whose_maker_may_live_is_not_touched():
    assert told(container(OTHER, state="exited"), started=HIDDEN)[0] is Action.UNTOUCHED
    unsure = container(replace(OTHER, started=0), state="exited")
    assert told(unsure, started=REUSED)[0] is Action.UNTOUCHED
    assert told(unsure, started=GONE)[0] is Action.REMOVE, "no process of that id: there is nothing to compare"


@pytest.mark.parametrize("name", ["machine", "boot", "pid_namespace"])
@pytest.mark.parametrize("value", ["other", UNKNOWN])
def test_what_was_made_out_of_sight_is_not_touched(name, value):
    others = {"machine": "b" * 32, "boot": "9" * 8 + ME.boot[8:], "pid_namespace": "4026532000"}
    maker = replace(OTHER, **{name: others[name] if value == "other" else UNKNOWN})
    action, why = told(container(maker, state="exited"), started=GONE)
    assert action is Action.UNTOUCHED
    assert "cannot see" in why


def test_volumes_of_other_stores_stay_unless_their_store_is_named():
    assert told(volume(OTHER), started=GONE)[0] is Action.UNTOUCHED
    assert told(volume(OTHER), started=GONE, volumes_of=frozenset({"ffff9999"}))[0] is Action.REMOVE
    assert told(volume(OTHER), started=ALIVE, volumes_of=frozenset({"ffff9999"}))[0] is Action.KEEP
    assert told(volume(), {}, volumes_of=frozenset({"0123abcd"}))[0] is Action.UNTOUCHED, "the own one has a log"


def test_a_builders_container_goes_with_its_dead_maker():
    labels = AgentsVolume(engine=None, key="k", versions="").labels
    found = Found(Kind.CONTAINER, "acp-subagents-agents-k-1-copy", "c" * 64, labels, "created")
    me = Owner.of_this_process(ME.store, 1)
    for started, action in ((GONE, Action.REMOVE), (me.started, Action.KEEP)):
        [judgement] = judge([found], me, {}, lambda _pid, started=started: started)
        assert judgement.action is action
    assert told(replace(found, name="web"), started=GONE)[0] is Action.UNTOUCHED


# ---- what is not ours


@pytest.mark.parametrize("maker", [ME, OTHER])
@pytest.mark.parametrize("key", ["machine", "boot", "pid-namespace", "pid", "started", "epoch", "store", "subagent",
                                 "role", "attempt"])  # fmt: skip
def test_what_lacks_a_label_is_not_touched(maker, key):
    assert told(without(container(maker, state="exited"), key), started=GONE)[0] is Action.UNTOUCHED


@pytest.mark.parametrize(
    "name",
    ["web", "", "acp-0123abcd-s-1", "acp-0123abcd-s-1-3", "acp-0123abcd-s-2-2", "acp-ffff9999-s-1-2",
     "x-acp-0123abcd-s-1-2",
     "acp-0123abcd-s-1-2-owner-x", "acp-0123abcd-s-1-2\n", "acp-0123abcd-s-1-A-2"],
)  # fmt: skip
def test_labels_on_a_thing_of_another_name_are_forged(name):
    action, why = told(container(name=name))
    assert action is Action.UNTOUCHED
    assert "its name is not" in why
    assert told(volume(name=name), OVER)[0] is Action.UNTOUCHED


def test_no_label_is_read_as_a_pattern():
    odd = container(subagent="s.1", name="acp-0123abcd-sx1-2")
    assert told(odd)[0] is Action.UNTOUCHED


@pytest.mark.parametrize("attempt", ["0", "-1", "02", "two", "", "1" * 30])
def test_an_attempt_that_is_none_is_not_touched(attempt):
    assert told(container(attempt=attempt))[0] is Action.UNTOUCHED


def test_the_log_is_asked_for_what_belongs_to_its_store_only():
    found = [container(), volume(subagent="s-2"), container(OTHER, subagent="s-3"), container(subagent="../x")]
    assert subagents([*found, Found(Kind.VOLUME, "v", "v", {})], ME.store) == {"s-1", "s-2"}


# ---- beyond the rules

makers = st.builds(
    Owner,
    st.sampled_from([ME.store, OTHER.store]),
    st.sampled_from([ME.machine, "b" * 32, UNKNOWN]),
    st.sampled_from([ME.boot, UNKNOWN]),
    st.sampled_from([ME.pid_namespace, "4026532000"]),
    st.sampled_from([0, 1, 200]),
    st.sampled_from([0, ALIVE]),
    st.integers(0, 5),
)
things = st.one_of(
    st.builds(
        container,
        makers,
        subagent=st.sampled_from(["s-1", "s-2"]),
        attempt=st.sampled_from(["1", "2"]),
        role=st.sampled_from(["agent", "workspace"]),
        state=st.sampled_from(["created", "running", "exited", "paused"]),
        held=st.sampled_from([None, True, False]),
    ),
    st.builds(volume, makers, subagent=st.sampled_from(["s-1", "s-2"])),
)
spoils = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(sorted(container().labels)), st.text(max_size=5)),
)
logs = st.dictionaries(
    st.sampled_from(["s-1", "s-2"]), st.builds(Standing, st.sampled_from([None, 1, 2]), st.sampled_from(["", "kept"]))
)


@given(things, spoils, logs, st.sampled_from([ALIVE, GONE, HIDDEN, REUSED]), st.sampled_from([set(), {"ffff9999"}]))
@pytest.mark.requirement("D09.3")
def test_nothing_goes_that_any_rule_protects(thing, spoil, log, started, volumes_of):
    if spoil is not None:
        thing = replace(thing, labels={**thing.labels, spoil[0]: spoil[1]})
    if told(thing, log, started, volumes_of=frozenset(volumes_of))[0] is not Action.REMOVE:
        return
    maker = Owner.of_labels(thing.labels)
    assert maker is not None
    assert thing.name.startswith(f"acp-{maker.store[:8]}-{thing.labels[LABEL + 'subagent']}-")
    standing = log.get(thing.labels[f"{LABEL}subagent"])
    if maker.store == ME.store:
        assert maker.epoch <= ME.epoch
        if thing.kind is Kind.VOLUME:
            assert standing == Standing(None, "")
        elif standing is not None and standing.attempt == int(thing.labels[f"{LABEL}attempt"]):
            assert thing.labels[f"{LABEL}role"] != "agent"
            assert maker.epoch < ME.epoch
    else:
        assert ME.lives_beside(maker)
        assert started is None or (started != maker.started and started and maker.started)
        orphan = (thing.state, thing.held, thing.labels[f"{LABEL}role"]) == ("running", False, "agent")
        assert thing.state in ENDED or orphan if thing.kind is Kind.CONTAINER else maker.store in volumes_of
