import json
import os
import stat

import pytest

from acp_runtime.gateway.ledger import Ledger

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
    ledger = Ledger(tmp_path, segment_bytes=40, segments=3)
    for number in range(20):
        ledger.append({"n": number, "filling": "x" * 20})
    ledger.close()
    assert records(tmp_path) == list(range(records(tmp_path)[0], 20))
    assert len(list(tmp_path.iterdir())) == 3


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
