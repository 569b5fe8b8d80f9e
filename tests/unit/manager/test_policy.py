"""What the operator allowed for good: a file that people may edit, of which only whole and good lines count."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from acp_runtime.core.confinement import Egress
from acp_runtime.core.errors import Rejected
from acp_runtime.core.inputs import AnswerRequest, Denied
from acp_runtime.core.model import Order, Subagent
from acp_runtime.core.wishes import ALLOW
from acp_runtime.manager.policy import Policy, Standing
from tests.histories import after, ready, spawn

A, B = Standing("web", "a.example.org:443"), Standing("web", "b.example.org:8443")


def of_preset(preset: str, egress: Egress | None) -> Subagent:
    return ready(spawn(order=Order(agent="scripted", workspace="/w", preset=preset, egress=egress)))


def test_what_is_allowed_for_good_is_there_for_the_next_owner_and_can_be_taken_back(tmp_path: Path) -> None:
    policy = Policy.beside(tmp_path / "store.db")
    assert policy.standing() == ()
    for standing in (A, B, A):
        policy.allow(standing)
    assert policy.standing() == (B, A)
    assert (tmp_path / "store.egress").stat().st_mode & 0o777 == 0o600
    kept = tmp_path / "store.egress"
    kept.write_text("".join(line for line in kept.read_text().splitlines(keepends=True) if str(B.rule) not in line))
    assert Policy.beside(tmp_path / "store.db").standing() == (A,)


def test_a_rule_is_taken_back_from_one_preset_or_from_all_and_what_else_stands_in_the_file_stays(
    tmp_path: Path,
) -> None:
    policy, other = Policy.beside(tmp_path / "store.db"), Standing("other", A.rule)
    (tmp_path / "store.egress").write_text(f"# for the build\nweb a.example.org\n{other.preset} {other.rule}\n")
    policy.allow(B)
    assert policy.revoke(A.rule, "web") == (A,)  # as it was meant, however it was written
    assert policy.revoke(A.rule, "web") == ()
    assert policy.standing() == (other, B)
    policy.allow(A)
    assert policy.revoke(A.rule, None) == (other, A)
    assert (tmp_path / "store.egress").read_text() == f"# for the build\n{B.preset} {B.rule}\n"


def test_rules_that_are_allowed_and_taken_back_at_the_same_time_lose_none_of_the_others(tmp_path: Path) -> None:
    policy = Policy.beside(tmp_path / "store.db")
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
    path, policy = tmp_path / "store.egress", Policy.beside(tmp_path / "store.db")
    path.mkdir() if spoil == "folder" else path.write_text(f"{A.preset} {A.rule}\n" * 20_000)
    size = path.stat().st_size
    assert policy.standing() == ()
    for edit in (lambda: policy.allow(B), lambda: policy.revoke(A.rule, None)):
        with pytest.raises(
            Rejected, match=r"store\.egress could not be changed: .*nothing was allowed or taken back"
        ) as no:
            edit()
        assert no.value.kind == "policy_unwritable"
    assert path.stat().st_size == size


@pytest.mark.parametrize("line", ["web", "web *", "web a.example.org:443 more", "web http://a.example.org", " ", "\0"])
def test_a_line_that_is_none_allows_nothing_and_costs_the_others_nothing(tmp_path: Path, line: str) -> None:
    (tmp_path / "store.egress").write_text(f"{line}\nweb b.example.org:8443\n")
    assert Policy.beside(tmp_path / "store.db").standing() == (B,)


def test_a_file_that_cannot_be_read_allows_nothing(tmp_path: Path) -> None:
    (tmp_path / "store.egress").mkdir()
    assert Policy.beside(tmp_path / "store.db").standing() == ()


def test_it_holds_for_subagents_of_the_preset_that_have_a_proxy(tmp_path: Path) -> None:
    policy = Policy.beside(tmp_path / "store.db")
    policy.allow(A)
    own = Egress(("own.example.org:443",), ("pip",))
    assert policy.egress_of(of_preset("web", own)) == Egress((*own.rules, A.rule), ("pip",))
    assert policy.egress_of(of_preset("other", own)) == own
    assert policy.egress_of(of_preset("web", None)) is None
    asked = after(of_preset("other", own), Denied(1, B.rule), AnswerRequest("e1", ALLOW, "parent"))
    assert policy.egress_of(asked) == Egress((*own.rules, B.rule), ("pip",))
