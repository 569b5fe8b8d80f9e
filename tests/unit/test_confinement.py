"""Folders of the host in a sandbox: where the engine has others of the same name, none is mounted."""

from pathlib import Path

import pytest

from acp_runtime.core.confinement import Confinement, Mount
from acp_runtime.core.errors import Rejected
from acp_runtime.manager.confinement import host_mounts
from sandbox.endpoint import resolve
from sandbox.spec import HostMount


def test_a_folder_is_mounted_only_by_an_engine_that_sees_it(tmp_path: Path) -> None:
    endpoint = resolve({"DOCKER_HOST": "unix:///nowhere.sock"}, lambda _: None)
    given = Confinement(mounts=(Mount(str(tmp_path), "/data"),))
    assert host_mounts(given, endpoint, shared=True) == (HostMount(str(tmp_path.resolve()), "/data"),)
    with pytest.raises(Rejected, match="may have other folders") as refused:
        host_mounts(given, endpoint, shared=False)
    assert refused.value.kind == "mount_refused"
    assert host_mounts(Confinement(), endpoint, shared=False) == ()
