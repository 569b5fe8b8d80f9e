"""What the operator allowed for good: a file that people may edit, of which only whole and good lines count."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from acp_runtime.config import Config, load
from acp_runtime.core.confinement import Confinement, Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.ids import OPERATORS_OWN
from acp_runtime.core.inputs import AnswerRequest, Denied
from acp_runtime.core.model import Order, Subagent
from acp_runtime.core.wishes import ALLOW
from acp_runtime.manager.entitlement import entitled, ruled
from acp_runtime.manager.policy import Policy, Standing
from acp_runtime.presets import Network, Preset
from tests.histories import after, ready, spawn

A, B = Standing("web", "a.example.org:443"), Standing("web", "b.example.org:8443")


def config_of(*presets: Preset, ceiling: str = "privileged") -> Config:
    config = load(None, {"HOME": "/nonexistent"})
    return replace(config, presets={**config.presets, **{each.name: each for each in presets}}, ceiling=ceiling)


def web(*rules: str, registries: tuple[str, ...] = (), name: str = "web") -> Preset:
    return Preset(name, "reaches a little", Confinement(), Network.EGRESS, egress=Egress(rules, registries))


def policy_of(folder: Path, *presets: Preset, ceiling: str = "privileged") -> Policy:
    return Policy.beside(folder / "store.db", config_of(*presets, ceiling=ceiling))


def of_preset(
    preset: str, egress: Egress | None, beside: Egress | None = None, parent: str = OPERATORS_OWN
) -> Subagent:
    order = Order(agent="scripted", workspace="/w", preset=preset, egress=egress, beside=beside)
    return ready(spawn(order=order, parent=parent))


def test_what_is_allowed_for_good_is_there_for_the_next_owner_and_can_be_taken_back(tmp_path: Path) -> None:
    policy = policy_of(tmp_path)
    assert policy.standing() == ()
    for standing in (A, B, A):
        policy.allow(standing)
    assert policy.standing() == (B, A)
    assert (tmp_path / "store.egress").stat().st_mode & 0o777 == 0o600
    kept = tmp_path / "store.egress"
    kept.write_text("".join(line for line in kept.read_text().splitlines(keepends=True) if str(B.rule) not in line))
    assert policy_of(tmp_path).standing() == (A,)


@pytest.mark.requirement("T7")
def test_a_file_that_everybody_may_change_allows_nothing_until_they_may_not(tmp_path: Path) -> None:
    policy = policy_of(tmp_path)
    policy.allow(A)
    file = tmp_path / "store.egress"
    file.chmod(0o606)
    before = policy.stamp()
    assert policy.standing() == ()
    with pytest.raises(Rejected, match="everybody may change it"):
        policy.allow(B)
    file.chmod(0o660)
    assert policy.standing() == (A,)
    assert policy.stamp() != before


def test_a_rule_is_taken_back_from_one_preset_or_from_all_and_what_else_stands_in_the_file_stays(
    tmp_path: Path,
) -> None:
    policy, other = policy_of(tmp_path), Standing("other", A.rule)
    (tmp_path / "store.egress").write_text(f"# for the build\nweb a.example.org\n{other.preset} {other.rule}\n")
    policy.allow(B)
    assert policy.revoke(A.rule, "web") == (A,)  # as it was meant, however it was written
    assert policy.revoke(A.rule, "web") == ()
    assert policy.standing() == (other, B)
    policy.allow(A)
    assert policy.revoke(A.rule, None) == (other, A)
    assert (tmp_path / "store.egress").read_text() == f"# for the build\n{B.preset} {B.rule}\n"


def test_rules_that_are_allowed_and_taken_back_at_the_same_time_lose_none_of_the_others(tmp_path: Path) -> None:
    policy = policy_of(tmp_path)
    gone = [Standing("web", f"gone{number}.example.org:443") for number in range(20)]
    new = [Standing("web", f"new{number}.example.org:443") for number in range(20)]
    for each in gone:
        policy.allow(each)
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda pair: (policy.revoke(pair[0].rule, None), policy.allow(pair[1])), zip(gone, new, strict=True)
            )
        )
    assert set(policy.standing()) == set(new)


@pytest.mark.parametrize("spoil", ["folder", "large"])
def test_a_file_that_cannot_be_read_whole_is_not_changed(tmp_path: Path, spoil: str) -> None:
    path, policy = tmp_path / "store.egress", policy_of(tmp_path)
    path.mkdir() if spoil == "folder" else path.write_text(f"{A.preset} {A.rule}\n" * 20_000)
    size = path.stat().st_size
    assert policy.standing() == ()
    for edit in (lambda: policy.allow(B), lambda: policy.revoke(A.rule, None)):
        with pytest.raises(
            Rejected, match=r"store\.egress could not be changed: .*what holds for good is as it was"
        ) as no:
            edit()
        assert no.value.kind == "policy_unwritable"
    assert path.stat().st_size == size


@pytest.mark.parametrize("line", ["web", "web *", "web a.example.org:443 more", "web http://a.example.org", " ", "\0"])
def test_a_line_that_is_none_allows_nothing_and_costs_the_others_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / "store.egress").write_text(f"{line}\nweb b.example.org:8443\n")
    assert policy_of(tmp_path).standing() == (B,)


def test_a_file_that_cannot_be_read_allows_nothing(tmp_path: Path) -> None:
    (tmp_path / "store.egress").mkdir()
    assert policy_of(tmp_path).standing() == ()


def test_it_holds_for_subagents_of_the_preset_that_have_a_proxy(tmp_path: Path) -> None:
    policy = policy_of(tmp_path)
    policy.allow(A)
    own = Egress(("own.example.org:443",), ("pip",))
    assert policy.egress_of(of_preset("web", own)) == Egress((*own.rules, A.rule), ("pip",))
    assert policy.egress_of(of_preset("other", own)) == own
    assert policy.egress_of(of_preset("web", None)) is None
    asked = after(of_preset("other", own), Denied(1, B.rule), AnswerRequest("e1", ALLOW, "parent"))
    assert policy.egress_of(asked) == Egress((*own.rules, B.rule), ("pip",))


C = "c.example.org:443"
WIDE = web("*.example.org:443", registries=("pip",), name="wide")
OF_BEFORE = Egress((A.rule, B.rule), ("npm",))


@pytest.mark.parametrize(
    ("parent", "beside", "presets", "rules", "registries"),
    [
        ("operator", Egress((B.rule,)), (web(C, registries=("pip",)),), (C, B.rule), ("pip",)),
        ("operator", Egress((B.rule,), ("npm",)), (), (B.rule,), ("npm",)),
        ("operator", Egress(), (web(name="web"),), (), ()),
        ("operator", None, (web(C),), (C, A.rule, B.rule), ("npm",)),
        ("p", Egress((A.rule,), ("npm",)), (web("c.example.net:443", registries=("pip",)),), (A.rule,), ("pip",)),
        ("p", Egress((A.rule,)), (replace(web(), network=Network.NONE, egress=Egress()),), (A.rule,), ()),
    ],
    ids=["a rule took another's place", "the preset is gone", "nothing is left", "stored before orders were kept apart",
         "a parent's, below a ceiling that was narrowed", "the preset has no network any more"],
)  # fmt: skip
def test_what_a_subagent_may_reach_follows_the_configuration_of_now(
    parent: str, beside: Egress | None, presets: tuple[Preset, ...], rules: tuple[str, ...], registries: tuple[str, ...]
) -> None:
    config = config_of(*presets, WIDE, ceiling="wide")
    assert entitled(config, of_preset("web", OF_BEFORE, beside, parent)) == Egress(rules, registries)
    assert entitled(config, of_preset("web", None, beside, parent)) is None


def test_what_only_a_start_can_give_is_named_and_nothing_else_is() -> None:
    before, state = config_of(web(A.rule), WIDE), of_preset("web", Egress((A.rule,)), Egress())
    assert ruled(before, config_of(web(A.rule), web(name="wide")), state) is None
    larger = replace(web(A.rule), confinement=Confinement(memory=64, pids=16), network=Network.MODEL, egress=Egress())
    told = ruled(before, config_of(larger), state)
    assert told is not None
    assert (told.lost, told.kept) == ((A.rule,), ("memory", "pids", "network"))
    told = ruled(before, config_of(), state)
    assert told is not None
    assert (told.lost, told.kept) == ((A.rule,), ("preset",))
