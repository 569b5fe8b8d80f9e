"""The doctor: names what would keep every agent from starting, and writes a report that may be sent to others."""

import socket
import stat
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.daemon_site import DaemonSite, daemon_site

WITHOUT_PROGRAMS = """
import functools, pathlib, sys
from acp_runtime.cli import doctor
from acp_runtime.cli.main import main
doctor.program = functools.partial(doctor.program, folder=pathlib.Path("nowhere"))
sys.exit(main())
"""

WITH_TOKEN = """
import os, sys
from acp_runtime.cli.main import main
os.environ["MY_TOKEN"] = "t0ps3cret-value"
sys.exit(main())
"""


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("x", numbered=True)) as site:
        yield site


@pytest.mark.docker
@pytest.mark.requirement("D10.11")
def test_the_doctor_says_what_is_missing_on_the_engine(site: DaemonSite) -> None:
    site.config.write_text('[sandbox]\nimage = "acp-subagents-test/nowhere:1"\nruntime = "warp"\n')
    done = site.run("doctor", code=WITHOUT_PROGRAMS)
    found = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert done.returncode == 1, done.stderr
    for name in ("relay", "holder"):
        assert found[name].startswith(f"bad  {name:<14} The {name} nowhere/{name}-")
        assert "run `python sandbox/programs/build.py`" in found[name]
    assert found["image"].startswith("warn image          acp-subagents-test/nowhere:1 is not on the engine yet")
    assert "agents" in found
    assert "bad  runtime        the engine has no warp, which is configured; it has: " in done.stdout
    assert "isolation" in found


@pytest.mark.requirement("D10.11")
def test_the_doctor_says_which_folder_cannot_be_used(site: DaemonSite) -> None:
    site.state.parent.mkdir(parents=True)
    site.state.write_text("in the way")
    done = site.run("doctor")
    assert f"bad  disk           {site.state} cannot be used: {site.state} is no folder" in done.stdout
    assert done.returncode != 0


def test_the_doctor_says_which_key_of_a_model_is_not_there(site: DaemonSite) -> None:
    with site.config.open("a") as file:
        file.write('[models.scripted]\nurl = "http://127.0.0.1:1"\nkey = "env:NO_SUCH_KEY"\n')
    done = site.run("doctor")
    assert "warn key            scripted: The model's key env:NO_SUCH_KEY is not in the environment; " in done.stdout


def test_the_doctor_names_what_a_dead_gateway_left(site: DaemonSite) -> None:
    folder = site.socket.parent
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "gateway-aaaabbbb.sock"))
    done = site.run("doctor")
    assert "gateway-aaaabbbb.sock was left by a dead one; `subagents reap` removes it" in done.stdout


@pytest.mark.requirement("D10.11")
def test_a_report_is_its_owners_alone_and_holds_no_secret_of_the_log(site: DaemonSite) -> None:
    site.state.mkdir(parents=True)
    (site.state / "daemon.log").write_text("INFO it was glpat-abcdefghij1234567890 and t0ps3cret-value\nthe end\n")
    report = site.root / "report.txt"
    report.write_text("an old one that all may read\n")
    report.chmod(0o644)
    site.run("doctor", "--bundle", str(report), code=WITH_TOKEN)
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    said = report.read_text()
    assert "INFO it was *** and ***\nthe end" in said
    assert sys.executable in said
    assert "an old one" not in said
