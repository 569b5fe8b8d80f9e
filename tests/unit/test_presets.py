"""Presets: what each allows, and that none goes beyond its ceiling."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acp_runtime.core.budget import Budget
from acp_runtime.core.confinement import Confinement, Egress, Mount
from acp_runtime.core.errors import Rejected
from acp_runtime.core.model import Permissions
from acp_runtime.egress.rules import Rules
from acp_runtime.presets import (
    Network,
    Preset,
    builtin_presets,
    find_preset,
    narrow,
    with_confinement,
    with_egress,
    with_permissions,
)

pytestmark = pytest.mark.requirement("P26")
PERMISSIONS = [Permissions.DENY, Permissions.ASK, Permissions.ALLOW]
NETWORKS = [Network.NONE, Network.MODEL, Network.EGRESS]
RULES = ["a.example.org:443", "*.example.org:443", "a.example.org:80", "unsafe_private:a.example.org:443"]

MOUNTS = st.builds(Mount, st.sampled_from(["/a", "/b"]), st.sampled_from(["/x", "/y"]), st.booleans())
CONFINEMENTS = st.builds(
    Confinement,
    memory=st.integers(64, 66),
    cpus=st.sampled_from([0.5, 1.0, 2.0]),
    pids=st.integers(16, 18),
    tmp=st.integers(1, 3),
    mounts=st.lists(MOUNTS, max_size=2).map(tuple),
)
PRESETS = st.builds(
    Preset,
    st.sampled_from(["p", "q"]),
    st.just(""),
    CONFINEMENTS,
    st.sampled_from(NETWORKS),
    st.sampled_from(PERMISSIONS),
    st.builds(
        Egress,
        st.lists(st.sampled_from(RULES), max_size=2).map(tuple),
        st.lists(st.sampled_from(["pip", "npm"]), max_size=2).map(tuple),
    ),
    st.builds(Budget, st.none() | st.integers(1, 3), st.none() | st.integers(1, 3), st.none() | st.integers(1, 3)),
)


def may_write(preset: Preset) -> set[tuple[str, str]]:
    return {(each.source, each.target) for each in preset.confinement.mounts if each.writable}


def may_read(preset: Preset) -> set[tuple[str, str]]:
    return {(each.source, each.target) for each in preset.confinement.mounts}


def reached(preset: Preset) -> set[tuple[str, int, bool]]:
    """The hosts, of a few, that a preset's rules let through, and whether they may be on a private network."""
    hosts = [(host, port) for host in ("a.example.org", "b.a.example.org", "example.org") for port in (80, 443)]
    found = Rules.parse(preset.egress.rules).rules
    return {
        (host, port, private)
        for host, port in hosts
        for rule in found
        if rule.matches(host, port)
        for private in {False, rule.private}
    }


def within(preset: Preset, ceiling: Preset) -> bool:
    own, most = preset.confinement, ceiling.confinement
    return (
        (own.memory <= most.memory and own.cpus <= most.cpus and own.pids <= most.pids and own.tmp <= most.tmp)
        and may_read(preset) <= may_read(ceiling)
        and may_write(preset) <= may_write(ceiling)
        and PERMISSIONS.index(preset.permissions) <= PERMISSIONS.index(ceiling.permissions)
        and NETWORKS.index(preset.network) <= NETWORKS.index(ceiling.network)
        and reached(preset) <= reached(ceiling)
        and set(preset.egress.registries) <= set(ceiling.egress.registries)
        and (preset.budget.tokens or 9) <= (ceiling.budget.tokens or 9)
        and (preset.budget.cost or 9) <= (ceiling.budget.cost or 9)
    )


def narrowed(preset: Preset, ceiling: Preset) -> Preset | None:
    try:
        return narrow(preset, ceiling)
    except Rejected:
        return None


@given(PRESETS, PRESETS)
def test_what_is_let_through_is_within_the_ceiling_and_what_was_asked_for(preset: Preset, ceiling: Preset) -> None:
    got = narrowed(preset, ceiling)
    assert got == (preset if within(preset, ceiling) else None)


@given(PRESETS, PRESETS, PRESETS)
def test_a_chain_of_ceilings_never_widens(first: Preset, second: Preset, third: Preset) -> None:
    if narrowed(second, third) is not None and narrowed(first, second) is not None:
        assert narrowed(first, third) == first


@given(PRESETS)
def test_every_preset_is_within_itself(preset: Preset) -> None:
    assert narrow(preset, preset) is preset


def test_the_presets_of_the_program_are_each_within_the_next() -> None:
    restricted, friendly, privileged = builtin_presets().values()
    assert narrow(restricted, friendly) is restricted
    assert narrow(friendly, privileged) is friendly
    for wide, less in ((privileged, friendly), (friendly, restricted)):
        with pytest.raises(Rejected) as caught:
            narrow(wide, less)
        assert caught.value.kind == "beyond_ceiling"
    assert all(preset.unsafe == () and preset.confinement.mounts == () for preset in (restricted, friendly, privileged))


def test_a_wider_wish_is_refused_with_every_axis_by_name() -> None:
    mounts = (Mount("/srv", "/srv", writable=True),)
    wide = Preset("wide", "", Confinement(8192, 4.0, 1024, 1024, mounts))
    low = Preset("low", "", Confinement(4096, 2.0, 512, 512), Network.NONE, Permissions.DENY)
    with pytest.raises(Rejected) as caught:
        narrow(wide, low)
    assert str(caught.value) == (
        "the preset 'wide' goes beyond 'low': memory 8192 MiB where 4096 MiB are allowed; cpus 4.0 where 2.0 are "
        "allowed; pids 1024 where 512 are allowed; tmp 1024 MiB where 512 MiB are allowed; network model where none is "
        "allowed; permissions allow where deny is allowed; the folder /srv at /srv, writable. "
        "Choose a narrower one, or have the operator raise the ceiling."
    )
    assert len(caught.value.data["wider"]) == 7


def test_a_folder_may_be_read_where_it_may_be_written_but_not_the_other_way_round() -> None:
    reading = Preset("r", "", Confinement(mounts=(Mount("/a", "/x"),)))
    writing = Preset("w", "", Confinement(mounts=(Mount("/a", "/x", writable=True),)))
    assert narrow(reading, writing) is reading
    assert narrowed(writing, reading) is None
    assert (reading.unsafe, writing.unsafe) == ((), ("unsafe_writable /x",))


def test_what_weakens_a_sandbox_is_named_and_is_beyond_a_ceiling_without_it() -> None:
    usual, weak = Preset("u", "", Confinement()), Preset("w", "", Confinement(unsafe_seccomp=True))
    assert weak.unsafe == ("unsafe_seccomp",)
    assert narrow(usual, weak) is usual
    with pytest.raises(Rejected, match="goes beyond 'u': unsafe_seccomp"):
        narrow(weak, usual)


@pytest.mark.parametrize(
    ("own", "most", "wider"),
    [
        ("", "", ""),
        ("runsc", "", ""),
        ("runsc", "runsc", ""),
        ("", "runsc", "the runtime of the engine where runsc is asked for"),
        ("runc", "runsc", "the runtime runc where runsc is asked for"),
    ],
)
def test_a_ceiling_with_a_runtime_lets_no_other_through(own: str, most: str, wider: str) -> None:
    wish, ceiling = Preset("p", "", Confinement(runtime=own)), Preset("c", "", Confinement(runtime=most))
    assert narrowed(wish, ceiling) is (None if wider else wish)
    if wider:
        with pytest.raises(Rejected, match=wider):
            narrow(wish, ceiling)


def test_every_preset_of_the_program_has_the_configured_runtime() -> None:
    assert {preset.confinement.runtime for preset in builtin_presets(runtime="runsc").values()} == {"runsc"}


def test_a_wish_changes_what_it_names_and_nothing_else() -> None:
    friendly = builtin_presets()["friendly"]
    same = with_confinement(friendly, memory=None, pids=None, runtime=None)
    assert same == friendly
    other = with_confinement(friendly, memory=64, pids=16, runtime="runsc")
    assert other.confinement == Confinement(memory=64, pids=16, runtime="runsc")


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"memory": 63}, "memory is 63; it must be from 64 to 1048576 MiB"),
        ({"memory": 1_048_577}, "memory is 1048577; "),
        ({"pids": 0}, "pids is 0; it must be from 16 to 4194304 processes"),
        ({"runtime": ""}, "runtime '' is not a name"),
        ({"runtime": "../x\x1b[2J"}, "runtime '../x"),
    ],
)
def test_a_wish_that_no_sandbox_can_have_is_refused_with_its_value(wish: dict[str, Any], told: str) -> None:
    none: dict[str, Any] = {"memory": None, "pids": None, "runtime": None}
    with pytest.raises(Rejected) as caught:
        with_confinement(builtin_presets()["friendly"], **none | wish)
    assert caught.value.kind == "invalid"
    assert str(caught.value).startswith(told)
    assert "\x1b" not in str(caught.value)


def test_an_unknown_preset_is_told_with_the_available_ones() -> None:
    with pytest.raises(Rejected, match=r"Unknown preset 'x'\. Available: restricted, friendly, privileged") as caught:
        find_preset(builtin_presets(), "x")
    assert caught.value.kind == "unknown_preset"


def test_other_permissions_than_the_presets_count_against_its_own_ceiling() -> None:
    restricted = find_preset(builtin_presets(), "restricted")
    assert narrow(with_permissions(restricted, Permissions.DENY), restricted).permissions is Permissions.DENY
    assert narrowed(with_permissions(restricted, Permissions.ALLOW), restricted) is None


def test_egress_beside_a_preset_is_refused_beyond_the_ceiling_by_rule_and_by_registry() -> None:
    friendly = find_preset(builtin_presets(), "friendly")
    wide = with_egress(friendly, Egress(("example.org", "example.org:443"), ("pip",)))
    assert (wide.network, wide.egress) == (Network.EGRESS, Egress(("example.org:443",), ("pip",)))
    with pytest.raises(Rejected) as caught:
        narrow(wide, friendly)
    assert caught.value.data["wider"] == [
        "network egress where model is allowed",
        "the egress rule example.org:443",
        "the package registry pip",
    ]
    assert narrow(wide, wide) is wide


def test_egress_cannot_be_had_beside_a_preset_that_reaches_nothing() -> None:
    nothing = Preset("nothing", "", Confinement(), Network.NONE)
    with pytest.raises(Rejected, match="'nothing' reaches nothing"):
        with_egress(nothing, Egress(("example.org",)))
    assert with_egress(nothing, Egress()) is nothing


def test_a_rule_for_private_addresses_is_shown_as_unsafe() -> None:
    preset = find_preset(builtin_presets(), "friendly")
    rules = ("example.org", "unsafe_private:localhost:80")
    assert with_egress(preset, Egress(rules)).unsafe == ("unsafe_private:localhost:80",)
