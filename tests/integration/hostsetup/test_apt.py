"""The command lines that reach apt-get, and what happens when it fails. apt-get is played: a test installs nothing."""

import os

import pytest
from hostsetup.packages import Apt
from hostsetup.talk import Stop

APT_GET = """#!/bin/sh
echo "$@" >> {folder}/calls
umask >> {folder}/umasks
case "$*" in
    *" update "*) exit {update} ;;
    *" -s install "*) echo "{simulation}"; exit {known} ;;
    *" -s "*) echo "{removal}" ;;
    *--assume-no*) echo "Need to get 66.1 MB of archives."; exit 1 ;;
    *" -y "*) ls {folder}/recorded >> {folder}/calls; echo "Err: the mirror said no"; exit {code} ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "dpkg-query").write_text('#!/bin/sh\ncase "$*" in *gone*) exit 1 ;; esac\nprintf "ii "\n')
    (tmp_path / "dpkg-query").chmod(0o755)

    def make(*, update=0, known=0, code=0, simulation="Inst runc (1 x)", removal="Remv runc [1]"):
        text = APT_GET.format(
            folder=tmp_path, update=update, known=known, code=code, simulation=simulation, removal=removal
        )
        (tmp_path / "apt-get").write_text(text)
        (tmp_path / "apt-get").chmod(0o755)
        return Apt(tmp_path / "log", {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})

    make.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    make.record = lambda names: (tmp_path / "recorded").write_text(" ".join(names))
    return make


def test_what_is_new_is_noted_before_it_is_installed_and_nothing_may_go(tmp_path, machine, capsys):
    machine().install(["docker.io"], record=machine.record)
    *_, install, seen = machine.calls()
    assert install.endswith("-y -q --no-remove install --no-install-recommends docker.io")
    assert seen == f"{tmp_path}/recorded"
    assert (tmp_path / "recorded").read_text() == "runc"
    assert "Need to get 66.1 MB" in capsys.readouterr().err


def test_packages_are_unpacked_for_everybody_whatever_our_umask_is(tmp_path, machine):
    before = os.umask(0o077)
    try:
        machine().install(["docker.io"], record=machine.record)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert (tmp_path / "umasks").read_text().splitlines()[-1] == "0022"


def test_an_installation_that_would_remove_something_is_refused(machine):
    with pytest.raises(Stop, match="would remove podman-docker, so nothing was done"):
        machine(simulation="Inst docker.io (1 x)\nRemv podman-docker [4]").install(["docker.io"], record=machine.record)
    assert not any(" -y " in call for call in machine.calls())


def test_a_package_that_is_not_to_be_had_is_told_in_apts_words(machine):
    with pytest.raises(Stop, match="E: Unable to locate package"):
        machine(known=100, simulation="E: Unable to locate package docker.io").install(["docker.io"], record=print)


def test_lists_that_cannot_be_refreshed_are_no_reason_to_give_up(machine, capsys):
    machine(update=100).install(["docker.io"], record=machine.record)
    assert "going on with those that are here" in capsys.readouterr().err


def test_an_installation_that_fails_is_told_with_the_last_lines_and_the_log(tmp_path, machine):
    with pytest.raises(Stop, match=r"could not install docker.io \(exit 100\)") as caught:
        machine(code=100).install(["docker.io"], record=machine.record)
    assert "  | Err: the mirror said no" in str(caught.value)
    assert str(tmp_path / "log") in str(caught.value)


@pytest.mark.parametrize(("purge", "verb"), [(True, "purge"), (False, "remove")])
def test_only_what_is_on_the_list_and_still_installed_is_removed(machine, purge, verb):
    machine().remove(["runc", "gone"], purge=purge)
    assert f"-y -q {verb} runc" in machine.calls()[-1]


def test_a_package_that_others_need_by_now_stays(machine):
    with pytest.raises(Stop, match="that would also remove firewall"):
        machine(removal="Remv firewall [1]\nRemv runc [1]").remove(["runc"], purge=False)
    assert not any(" -y " in call for call in machine.calls())


def test_nothing_is_called_when_nothing_is_left_to_remove(tmp_path, machine):
    machine().remove(["gone"], purge=True)
    assert not (tmp_path / "calls").exists()
