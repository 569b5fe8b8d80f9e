"""Who made a thing: what labels say of a process, and what can be proven of it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import Fenced
from sandbox.ownership import UNKNOWN, Owner, epoch_of, refuse_later, start_time
from sandbox.spec import LABEL

ME = Owner.of_this_process("0123abcd", 3)
DEAD_PID = 2**22 + 1  # above the kernel's highest


def test_a_process_is_named_by_what_the_kernel_says_of_it():
    assert ME.pid == os.getpid()
    assert ME.started == start_time(os.getpid()) != 0
    assert ME.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert ME.pid_namespace in str(Path("/proc/self/ns/pid").readlink())


def test_the_machines_own_id_is_not_published():
    published = " ".join(ME.labels().values())
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        if Path(path).exists():
            assert Path(path).read_text().strip() not in published


def test_two_processes_of_one_machine_live_beside_each_other_and_differ():
    script = "from sandbox.ownership import Owner; print(Owner.of_this_process('0123abcd', 3).labels())"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    other = Owner.of_labels(eval(told))
    assert other is not None
    assert other.lives_beside(ME)
    assert other.pid != ME.pid


@pytest.mark.parametrize("name", ["machine", "boot", "pid_namespace"])
def test_what_differs_or_is_unknown_is_not_beside(name):
    assert not replace(ME, **{name: "0"}).lives_beside(ME)
    unknown = replace(ME, **{name: UNKNOWN})
    assert not unknown.lives_beside(unknown)


def test_labels_are_read_as_they_are_written():
    assert Owner.of_labels(ME.labels()) == ME
    assert Owner.of_labels({**ME.labels(), "more": "x"}) == ME


@pytest.mark.parametrize("key", sorted(ME.labels()))
@pytest.mark.parametrize(
    "value", [None, "", "-1", "1 ", " 1", "1\n", "01", "x" * 200, "\u0661", "1e3", "../etc", "99" * 20]
)
def test_labels_that_are_missing_or_of_another_form_name_nobody(key, value):
    labels = {name: told for name, told in {**ME.labels(), key: value}.items() if told is not None}
    if not (key.endswith("store") and value in ("01", "1e3", "99" * 20)):
        assert Owner.of_labels(labels) is None


@given(st.dictionaries(st.sampled_from(sorted(ME.labels())), st.text()))
def test_no_labels_whatever_break_the_reader(labels):
    found = Owner.of_labels({**ME.labels(), **labels})
    assert found is None or Owner.of_labels(found.labels()) == found


def test_a_process_that_is_gone_has_no_start_and_a_hidden_one_an_unknown_one():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert start_time(gone.pid) is None
    assert start_time(DEAD_PID) is None
    assert start_time(2**70) == 0
    assert start_time(1)


@pytest.mark.parametrize("labels", [None, {}, {f"{LABEL}epoch": "0"}, {f"{LABEL}epoch": "3"}])
def test_what_is_of_the_same_epoch_or_earlier_may_be_touched(labels):
    refuse_later("volume v", labels, 3)


def test_what_is_later_or_unreadable_may_not():
    with pytest.raises(Fenced, match=r"later manager \(epoch 4\) owns the volume v"):
        refuse_later("volume v", {f"{LABEL}epoch": "4"}, 3)
    with pytest.raises(Fenced, match="cannot be read"):
        refuse_later("volume v", {f"{LABEL}epoch": "four"}, 3)
    assert epoch_of({f"{LABEL}epoch": "-4"}) is None
