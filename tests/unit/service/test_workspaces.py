"""Which folders somebody may name as a workspace: nobody means the whole machine, or a home with its keys."""

from pathlib import Path

import pytest

from acp_runtime.callers import OPERATOR
from acp_runtime.config import load
from acp_runtime.core.errors import Rejected
from acp_runtime.service import SpawnRequest
from acp_runtime.service.order import spawn_input


def taken(folder: Path, tmp_path: Path) -> str:
    config = load(None, {"HOME": str(tmp_path / "none")})
    request = SpawnRequest("opencode", folder, "x", model="m", model_url="http://127.0.0.1:1/v1")
    return spawn_input(config, ident="bg-0123456789", caller=OPERATOR, request=request).order.workspace


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def test_the_whole_machine_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    for named in (Path("/"), Path("/usr/.."), tmp_path / "link"):
        with pytest.raises(Rejected, match="the workspace / is the whole machine; name the folder of a project"):
            taken(named, tmp_path)


def test_a_home_folder_is_a_workspace_only_where_it_is_a_repository(home: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(home)
    for named in (home, tmp_path / "link", home / "." / "x" / ".."):
        (home / "x").mkdir(exist_ok=True)
        with pytest.raises(Rejected, match="is your home folder, with the keys and logins in it; name the folder"):
            taken(named, tmp_path)
    assert taken(home / "x", tmp_path) == str(home / "x")
    (home / ".git").mkdir()
    assert taken(home, tmp_path) == str(home)


def test_without_a_home_every_folder_is_a_workspace(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.chdir(home)
    assert taken(home, tmp_path) == str(home)
