"""Ids are derived: the same fact always gets the same id, on every machine and in every version."""

import pytest

from acp_runtime.core.ids import LEFT, RIGHT, display_name, nudge_id, subagent_id, task_id, turn_token


def test_a_subagent_id_is_its_entropy_in_hexadecimal_digits() -> None:
    assert subagent_id(bytes.fromhex("00ff10abcd")) == "bg-00ff10abcd"
    assert subagent_id(bytes.fromhex("00ff10abcd") + b"ignored") == "bg-00ff10abcd"


def test_too_little_entropy_is_refused_with_the_number() -> None:
    with pytest.raises(ValueError, match="needs 5 bytes of entropy, got 4"):
        subagent_id(b"1234")


def test_derived_ids_are_these_for_ever() -> None:
    """Stored logs refer to them: a change here orphans what is stored."""
    assert task_id("bg-00ff10abcd", 3) == "bg-00ff10abcd.t3"
    assert display_name("bg-00ff10abcd") == "cedar-badger"
    assert nudge_id("task", "bg-00ff10abcd.t3") == "n-82c9939f9fa38bf2"
    assert turn_token("parent", "turn") == "turn-76d38e9717ecd2dbf6634d9a"


def test_names_come_from_the_two_lists_and_use_all_of_both() -> None:
    names = {display_name(f"bg-{number:010x}") for number in range(4_000)}
    assert {name.split("-")[0] for name in names} == set(LEFT)
    assert {name.split("-")[1] for name in names} == set(RIGHT)


def test_two_facts_never_share_a_nudge_and_two_turns_never_a_token() -> None:
    pairs = [(kind, subject) for kind in ("task", "request", "a") for subject in ("a", "b", "a\0b", "")]
    assert len({nudge_id(*pair) for pair in pairs}) == len(pairs)
    assert len({turn_token(*pair) for pair in pairs}) == len(pairs)


def test_the_border_between_parent_and_turn_cannot_be_moved() -> None:
    assert turn_token("a\0b", "c") != turn_token("a", "b\0c")


def test_text_that_no_file_can_hold_still_has_a_token() -> None:
    assert turn_token("p\ud800", "t\udfff") == turn_token("p\ud800", "t\udfff")
    assert turn_token("p\ud800", "t") != turn_token("p\ud801", "t")
