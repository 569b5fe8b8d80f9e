"""What no container may have: each of these would give it the host, another container or the kernel."""

from pathlib import Path

import pytest

from sandbox import seccomp
from sandbox.errors import RuntimeMissing, SameUser, SettingRefused
from sandbox.health import CHECK
from sandbox.policy import refuse_dangerous, refuse_runtime, refuse_same_user, refuse_workdir

LEAST = {"network_mode": "none", "cap_drop": ["ALL"]}
OUR_FILTER = f"seccomp={seccomp.profile()}"


def bind(source: str, target: str = "/mnt", **options: object) -> dict[str, object]:
    return {"Type": "bind", "Source": source, "Target": target, **options}


def volume(target: str = "/mnt", **options: object) -> dict[str, object]:
    return {"Type": "volume", "Source": "name", "Target": target, **options}


def refuse(**host: object) -> None:
    refuse_dangerous({"host_config": {**LEAST, **host}}, engine_root="/srv/engine", home="/home/me")


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
def test_a_dangerous_setting_is_refused_and_told_why(host):
    ((name, _),) = host.items()
    with pytest.raises(SettingRefused, match=rf"^The {name} .* more than itself \(.+\) and is refused; leave it out"):
        refuse(**host)


@pytest.mark.parametrize(
    "host",
    [
        # What nobody has thought of, and what is only another value of what there is.
        {"oom_kill_disable": True},
        {"oom_score_adj": -1000},
        {"cgroup_parent": "/"},
        {"extra_hosts": {"model": "169.254.169.254"}},
        {"dns": ["192.0.2.1"]},
        {"links": {"other": "other"}},
        {"port_bindings": {80: 80}},
        {"group_add": ["docker"]},
        {"auto_remove": True},
        {"storage_opt": {"size": "1T"}},
        {"isolation": "default"},
        {"shm_size": 1 << 40},
        {"network_mode": "bridge"},
        {"network_mode": "default"},
        {"ipc_mode": "shareable"},
        {"cap_drop": ["NET_RAW"]},
        {"cap_drop": []},
        {"cap_add": ["CHOWN"]},
        {"security_opt": []},
        {"security_opt": [OUR_FILTER]},
        {"security_opt": ["no-new-privileges", 'seccomp={"defaultAction": "SCMP_ACT_ALLOW"}']},
        {"security_opt": ["no-new-privileges:false"]},
        {"read_only": False},
        {"init": False},
        {"init": 1},
        *({"pids_limit": value} for value in (-1, 0, None, True, "512")),
        *({"mem_limit": value, "memswap_limit": value} for value in (-1, 0, "1g")),
        {"mem_limit": 1 << 30, "memswap_limit": 2 << 30},
        {"memswap_limit": 1 << 30},
        {"nano_cpus": 0},
        {"restart_policy": {"Name": "always"}},
        {"log_config": {"Type": "syslog", "Config": {"syslog-address": "tcp://192.0.2.1"}}},
        {"ulimits": [{"Name": "memlock", "Soft": -1, "Hard": -1}]},
        {"ulimits": [{"Name": "core", "Soft": -1, "Hard": -1}]},
        {"tmpfs": {"/etc": "rw"}},
        *({"tmpfs": {"/tmp": option}} for option in ("suid", "dev", "rw,size=0", "uid=10001", "")),
        {"runtime": ""},
        {"runtime": "../runc"},
        *({"mounts": value} for value in ({}, [None], "x")),
        *(
            {name: None}
            for name in ("cap_drop", "cap_add", "security_opt", "read_only", "tmpfs", "ulimits", "mem_limit")
        ),
        {"cap_add": "KILL"},
        {"tmpfs": ["/tmp"]},
        {"ulimits": [{"Name": "core"}]},
        {"ulimits": [{"Name": "core", "Soft": 0, "Hard": 1}]},
        {"ulimits": [{"Name": "nofile", "Soft": 1 << 20, "Hard": 1 << 20}]},
        {"ulimits": [{"Name": "core", "Soft": None, "Hard": 0}]},
    ],
    ids=str,
)
def test_a_setting_that_is_not_on_the_list_is_refused_with_its_value(host):
    value = repr(next(iter(host.values())))[:200]
    with pytest.raises(SettingRefused, match="is refused") as refused:
        refuse(**host)
    assert value in str(refused.value) or "memswap_limit" in str(refused.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"ports": [80]},
        {"volumes": ["/etc"]},
        {"runtime": "runc"},
        {"network_disabled": False},
        {"mac_address": "02:00:00:00:00:01"},
        {"stop_signal": "SIGKILL"},
        {"healthcheck": {"test": ["CMD", "true"]}},
        {"healthcheck": {**CHECK, "interval": 1_000_000}},
        {"healthcheck": {**CHECK, "test": ["CMD-SHELL", "true"]}},
        *({"user": user} for user in ("root", "0", "1000:1000", "10001", "")),
    ],
    ids=str,
)
def test_a_setting_beside_the_hosts_that_is_not_on_the_list_is_refused(settings):
    with pytest.raises(SettingRefused, match="is refused"):
        refuse_dangerous({**settings, "host_config": LEAST})


@pytest.mark.parametrize("missing", LEAST)
def test_what_an_engine_would_be_generous_with_is_to_be_said(missing):
    host = {name: value for name, value in LEAST.items() if name != missing}
    with pytest.raises(SettingRefused, match=f"needs the setting {missing} .* add it"):
        refuse_dangerous({"host_config": host})


def test_the_filter_is_off_only_where_that_is_named_unsafe_and_nothing_else_with_it():
    host = {**LEAST, "security_opt": ["no-new-privileges", "seccomp=unconfined"]}
    with pytest.raises(SettingRefused, match="our filter of system calls"):
        refuse_dangerous({"host_config": host})
    refuse_dangerous({"host_config": host}, unsafe_seccomp=True)
    for more in (["seccomp=unconfined"], [*host["security_opt"], "apparmor=unconfined"]):
        with pytest.raises(SettingRefused):
            refuse_dangerous({"host_config": {**LEAST, "security_opt": more}}, unsafe_seccomp=True)
    with pytest.raises(SettingRefused):
        refuse_dangerous({"host_config": {**host, "privileged": True}}, unsafe_seccomp=True)


def test_a_runtime_that_the_engine_does_not_have_is_refused_with_those_it_has():
    for fine in (None, "runc", "runsc"):
        refuse_runtime(fine, ("runc", "runsc"))
    with pytest.raises(RuntimeMissing, match=r"no runtime 'kata', it has: runc, runsc\. Install it"):
        refuse_runtime("kata", ("runc", "runsc"))
    with pytest.raises(RuntimeMissing, match="none that it names"):
        refuse_runtime("runc", ())


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
        bind("/data", BindOptions={"NonRecursive": True}),
        bind("/data", Consistency="cached"),
        bind("/data", VolumeOptions={"NoCopy": True}),
        volume(VolumeOptions={"DriverConfig": {"Options": {"o": "bind", "device": "/"}}}),
        volume(VolumeOptions={"NoCopy": True, "Subpath": "../other"}),
        {"Source": "name", "Target": "/x"},
        {"Type": "volume", "Source": "name"},
        {"Type": "volume", "Source": "/etc", "Target": "/x"},
        {"Type": "volume", "Target": "/x"},
        {"Type": "bind", "Target": "/x"},
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
        refuse_dangerous({"working_dir": path, "host_config": LEAST})


def test_what_a_sandbox_needs_is_allowed():
    refuse(
        cap_drop=["ALL"],
        cap_add=["SETUID", "SETGID", "SETPCAP", "KILL"],
        network_mode="none",
        ipc_mode="private",
        cgroupns="private",
        security_opt=["no-new-privileges", OUR_FILTER],
        runtime="runsc",
        mounts=[volume("/workspace"), bind("/home/me/.local/state/run", "/run/subagents")],
    )
    refuse_workdir("/workspace/processes")


@pytest.mark.parametrize("users", [(10001, 0), (0, 10001)])
def test_the_user_of_agents_makes_no_sandbox(users):
    with pytest.raises(SameUser, match="runs as the user 10001"):
        refuse_same_user(users)


def test_every_other_user_may():
    refuse_same_user((0, 1000, 10000, 10002))
