import json
import os
import stat

import pytest

from acp_runtime.gateway.ledger import Ledger, Place, newest, read

FIRST = "ledger-00000001.jsonl"


def records(folder):
    found = []
    for path in sorted(folder.glob("ledger-*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                found.append(json.loads(line)["n"])
            except ValueError:
                found.append("torn")
    return found


def told(folder):
    return [each["n"] for each in newest(folder, lambda _: True, 10_000)]


def test_records_are_appended_over_the_lives_of_gateways_to_a_file_of_its_user_alone(tmp_path):
    for number in (1, 2):
        ledger = Ledger(tmp_path)
        ledger.append({"n": number})
        ledger.close()
    assert records(tmp_path) == [1, 2]
    assert stat.S_IMODE((tmp_path / FIRST).stat().st_mode) == 0o600


def test_behind_a_record_that_was_torn_the_next_begins_a_line(tmp_path):
    (tmp_path / FIRST).write_bytes(b'{"n": 1}\n{"n": 2, "pa')
    ledger = Ledger(tmp_path)
    ledger.append({"n": 3})
    ledger.append({"n": 4})
    ledger.close()
    assert records(tmp_path) == [1, "torn", 3, 4]


def test_a_full_segment_is_followed_by_another_and_the_oldest_go(tmp_path):
    ledger = Ledger(tmp_path, segment_bytes=40, segments=3, old_bytes=100)
    for number in range(20):
        ledger.append({"n": number, "filling": "x" * 20})
    ledger.close()
    assert records(tmp_path) == list(range(records(tmp_path)[0], 20))
    assert len(list(tmp_path.iterdir())) == 4
    assert told(tmp_path) == list(range(told(tmp_path)[0], 20))
    assert len(records(tmp_path)) < len(told(tmp_path)) < 20


@pytest.mark.requirement("T2")
def test_who_floods_the_ledger_loses_old_records_of_its_own_and_nobody_elses(tmp_path):
    """Whatever it floods it with, and over the lives of gateways."""
    bounds = {"segment_bytes": 2_000, "segments": 3, "old_bytes": 4_000, "share_bytes": 1_000}
    for life in range(4):
        ledger = Ledger(tmp_path, **bounds)
        ledger.append({"subagent": "bg-quiet", "n": f"quiet {life}"})
        for number in range(300):
            path = '\\"subagent": "bg-quiet"' + "x" * (number % 7 * 20)
            ledger.append({"path": path, "subagent": "bg-flood", "n": life * 300 + number})
        ledger.close()
    found = told(tmp_path)
    assert [each for each in found if isinstance(each, str)] == [f"quiet {life}" for life in range(4)]
    flood = [each for each in found if isinstance(each, int)]
    assert flood == list(range(flood[0], 1_200))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 3 * 2_300 + 4_000
    assert stat.S_IMODE(next(tmp_path.glob("old-*")).stat().st_mode) == 0o600


@pytest.mark.requirement("T2")
def test_a_tree_that_floods_the_ledger_loses_records_of_its_own_and_each_in_it_those_beyond_its_share(tmp_path):
    """However many subagents it has for that, one after the other."""
    ledger = Ledger(tmp_path, segment_bytes=2_000, segments=2, old_bytes=8_000, share_bytes=1_000, tree_bytes=3_000)
    ledger.append({"subagent": "bg-quiet", "attempt": 1, "tree": "bg-quiet", "n": "quiet"})
    for child in range(20):
        for number in range(20):
            ledger.append({"subagent": f"bg-{child}", "attempt": 1, "tree": "bg-0", "n": [child, number, "x" * 50]})
    ledger.append({"subagent": "bg-meek", "attempt": 1, "tree": "bg-1", "n": "meek"})
    for number in range(200):
        ledger.append({"subagent": "bg-loud", "attempt": 1, "tree": "bg-1", "n": ["loud", number, "x" * 50]})
    ledger.close()
    found = told(tmp_path)
    assert [each for each in found if isinstance(each, str)] == ["quiet", "meek"]
    old = next(tmp_path.glob("old-*")).read_bytes().splitlines()
    sizes = [sum(len(line) + 1 for line in old if b'"tree": "%s"' % tree in line) for tree in (b"bg-0", b"bg-1")]
    assert 2_000 < sizes[0] <= 3_000
    assert 500 < sizes[1] <= 1_200


def test_what_is_old_is_never_read_again_by_who_books(tmp_path):
    ledger = Ledger(tmp_path, segment_bytes=40, segments=2)
    seen, place = [], Place()
    for number in range(20):
        ledger.append({"n": number, "filling": "x" * 20})
        found, place = read(tmp_path, place)
        seen += [each["n"] for each in found]
    ledger.close()
    assert seen == told(tmp_path) == list(range(20))


def test_a_ledger_of_more_segments_goes_on_with_fewer_and_all_records(tmp_path):
    ledger = Ledger(tmp_path, segment_bytes=40, segments=16)
    for number in range(16):
        ledger.append({"n": number, "filling": "x" * 20})
    ledger.close()
    assert len(list(tmp_path.iterdir())) == 16
    ledger = Ledger(tmp_path, segment_bytes=40, segments=12)
    ledger.append({"n": 16})
    ledger.close()
    assert told(tmp_path) == list(range(17))
    assert len(list(tmp_path.iterdir())) == 13


def test_what_was_left_by_a_gateway_that_died_while_it_made_room_counts_once(tmp_path):
    ledger = Ledger(tmp_path, segment_bytes=40, segments=2)
    for number in range(2):
        ledger.append({"n": number, "filling": "x" * 40})
    first = (tmp_path / FIRST).read_bytes()
    ledger.append({"n": 2, "filling": "x" * 40})
    assert not (tmp_path / FIRST).exists()
    (tmp_path / FIRST).write_bytes(first)
    assert told(tmp_path) == list(range(3))
    for number in range(3, 6):
        ledger.append({"n": number, "filling": "x" * 40})
    ledger.close()
    assert told(tmp_path) == list(range(6))
    assert not (tmp_path / FIRST).exists()


def test_a_ledger_whose_segments_somebody_removed_goes_on_behind_what_is_old(tmp_path):
    for numbers in (range(3), range(3, 6)):
        ledger = Ledger(tmp_path, segment_bytes=40, segments=1)
        for number in numbers:
            ledger.append({"n": number, "filling": "x" * 40})
        ledger.close()
        for path in tmp_path.glob("ledger-*"):
            path.unlink()
    assert told(tmp_path) == [0, 1, 3, 4]


def test_where_what_is_old_cannot_be_written_the_ledger_keeps_its_bound(tmp_path):
    ledger = Ledger(tmp_path, segment_bytes=40, segments=2)
    for number in range(30):
        (tmp_path / "old-new.jsonl").unlink(missing_ok=True)
        (tmp_path / "old-new.jsonl").symlink_to("/dev/full")
        ledger.append({"n": number, "filling": "x" * 20})
    ledger.close()
    assert len(records(tmp_path)) < 6


def test_a_disk_without_room_costs_records_and_is_told_once(tmp_path, caplog):
    ledger = Ledger(tmp_path)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, ledger._file)
    os.close(full)
    ledger.append({"n": 1})
    ledger.append({"n": 2})
    assert caplog.text.count("cannot be written") == 1
    ledger.close()


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "snow ☃"])
def test_what_a_client_says_stays_in_its_line(tmp_path, text):
    ledger = Ledger(tmp_path)
    ledger.append({"n": text})
    ledger.close()
    assert (tmp_path / FIRST).read_bytes().isascii()
    assert records(tmp_path) == [text]
