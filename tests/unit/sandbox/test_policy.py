"""What no container may have: each of these would give it the host, another container or the kernel."""

from pathlib import Path

import pytest

from sandbox.errors import SameUser, SettingRefused
from sandbox.policy import refuse_dangerous, refuse_same_user, refuse_workdir


def bind(source: str, target: str = "/mnt", **options: object) -> dict[str, object]:
    return {"Type": "bind", "Source": source, "Target": target, **options}


def volume(target: str = "/mnt", **options: object) -> dict[str, object]:
    return {"Type": "volume", "Source": "name", "Target": target, **options}


def refuse(**host: object) -> None:
    refuse_dangerous({"host_config": host}, engine_root="/srv/engine", home="/home/me")


@pytest.mark.parametrize(
    "host",
    [
        {"privileged": True},
        *({"cap_add": [name]} for name in ("SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "DAC_READ_SEARCH", "NET_ADMIN")),
        *({"cap_add": ["KILL", name]} for name in ("SYS_RAWIO", "BPF", "PERFMON", "ALL", "CAP_SYS_ADMIN", "sys_admin")),
        *({name: "host"} for name in ("network_mode", "pid_mode", "ipc_mode", "uts_mode", "userns_mode", "cgroupns")),
        *({name: "container:other"} for name in ("network_mode", "pid_mode", "ipc_mode")),
        *({"security_opt": [option]} for option in ("seccomp=unconfined", "seccomp:unconfined", "apparmor=unconfined")),
        {"security_opt": ["no-new-privileges", "systempaths=unconfined"]},
        {"security_opt": ["label=disable"]},
        {"devices": ["/dev/kvm"]},
        {"device_requests": [{}]},
        {"device_cgroup_rules": ["a *:* rwm"]},
        {"volumes_from": ["other"]},
        {"binds": ["/:/host"]},
        {"sysctls": {"kernel.core_pattern": "|/x"}},
    ],
    ids=str,
)
def test_a_dangerous_setting_is_refused(host):
    with pytest.raises(SettingRefused, match="is refused"):
        refuse(**host)


@pytest.mark.parametrize(
    "source",
    [
        *("/", "//", "/.", "/tmp/..", "/proc", "/proc/1/root", "/sys", "/sys/fs/cgroup", "/dev", "/dev/kvm", "/etc"),
        *("/etc/shadow", "/boot", "/run", "/var/run", "/var", "/root", "/usr", "/home", "/home/me", "/home/me/"),
        *("/srv/engine", "/srv/engine/volumes/x/_data", "/srv", "/var/run/docker.sock", "/run/docker.sock"),
        *("/home/me/project/agent.sock", "/home/me/../../etc"),
    ],
)
def test_a_directory_that_gives_the_host_away_is_refused(source):
    with pytest.raises(SettingRefused, match="mount of the host's"):
        refuse(mounts=[bind(source)])


@pytest.mark.parametrize(
    "source",
    ["/home/me/project", "/home/other/project", "/run/user/1000/acp", "/root/.local/state/acp", "/data", "/tmp/x"],
)
def test_an_ordinary_directory_is_not(source):
    refuse(mounts=[bind(source)])


def test_a_symbolic_link_to_what_is_refused_is_refused(tmp_path: Path):
    (tmp_path / "innocent").symlink_to("/etc")
    with pytest.raises(SettingRefused):
        refuse(mounts=[bind(str(tmp_path / "innocent"))])
    with pytest.raises(SettingRefused):
        refuse(mounts=[bind(str(tmp_path / "innocent" / "ssl"))])


@pytest.mark.parametrize(
    "mount",
    [
        bind("/data", "/"),
        bind("/data", "/proc/sys"),
        bind("/data", "/dev/shm"),
        volume("/sys"),
        bind("/data", BindOptions={"Propagation": "rshared"}),
        volume(VolumeOptions={"DriverConfig": {"Options": {"o": "bind", "device": "/"}}}),
        {"Type": "npipe", "Source": "x", "Target": "/x"},
        {"Type": "tmpfs", "Target": "/x"},
    ],
    ids=str,
)
def test_a_mount_of_a_dangerous_form_is_refused(mount):
    with pytest.raises(SettingRefused):
        refuse(mounts=[mount])


@pytest.mark.parametrize(
    "path", ["/proc/self/fd/8", "/proc", "/sys/kernel", "/dev/fd/7", "/workspace/../proc/self/fd/8"]
)
def test_a_working_directory_of_the_kernel_is_refused(path):
    with pytest.raises(SettingRefused, match="working directory"):
        refuse_workdir(path)
    with pytest.raises(SettingRefused, match="working directory"):
        refuse_dangerous({"working_dir": path, "host_config": {}})


def test_what_a_sandbox_needs_is_allowed():
    refuse(
        cap_drop=["ALL"],
        cap_add=["SETUID", "SETGID", "SETPCAP", "KILL"],
        network_mode="none",
        ipc_mode="private",
        cgroupns="private",
        security_opt=["no-new-privileges", 'seccomp={"defaultAction": "SCMP_ACT_ERRNO"}'],
        mounts=[volume("/workspace"), bind("/home/me/.local/state/run", "/run/subagents")],
    )
    refuse_workdir("/workspace/processes")


@pytest.mark.parametrize("users", [(10001, 0), (0, 10001)])
def test_the_user_of_agents_makes_no_sandbox(users):
    with pytest.raises(SameUser, match="runs as the user 10001"):
        refuse_same_user(users)


def test_every_other_user_may():
    refuse_same_user((0, 1000, 10000, 10002))
