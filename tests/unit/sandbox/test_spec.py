"""A specification and the settings that follow from it, field by field."""

import dataclasses
import json
from dataclasses import replace

import pytest

from sandbox import seccomp
from sandbox.engine_facts import EngineFacts
from sandbox.errors import SettingRefused
from sandbox.health import CHECK, HEALTH_SOCKET, NO_CHECK, with_health
from sandbox.policy import refuse_dangerous
from sandbox.programs import RELAY
from sandbox.spec import HostMount, Limits, SandboxSpec, VolumeMount, create_settings

FACTS = EngineFacts(
    version="20.10.24",
    api_version="1.41",
    os="linux",
    architecture="amd64",
    cpus=4,
    cgroup_version=1,
    security_options=(),
    name="box",
    root_dir="/var/lib/docker",
)
SPEC = SandboxSpec(store="0123456789abcdef", subagent="s7", image="base:1", command=("/run/relay", "x"), attempt=3)


def test_a_relay_that_can_be_checked_is_and_no_other_first_process():
    def check(*command):
        return create_settings(replace(SPEC, command=command), FACTS)["healthcheck"]

    assert check(*with_health(("127.0.0.1:1", "/s"))) == CHECK
    assert CHECK["interval"] >= 300_000_000_000
    for other in (("sleep", "1800"), (RELAY, "127.0.0.1:1", "/s"), ("/tmp/relay", "health", HEALTH_SOCKET)):
        assert check(*other) == NO_CHECK
    refuse_dangerous(create_settings(replace(SPEC, command=with_health(("x",))), FACTS))


def test_the_settings_are_these():
    settings = create_settings(SPEC, FACTS)
    host = settings.pop("host_config")
    assert settings == {
        "image": "base:1",
        "entrypoint": ["/run/relay", "x"],
        "user": "0:0",
        "working_dir": "/",
        "environment": {"HOME": "/home/agent"},
        "labels": SPEC.all_labels,
        "healthcheck": {"test": ["NONE"]},
    }
    assert host == {
        "cap_drop": ["ALL"],
        "cap_add": ["SETUID", "SETGID", "SETPCAP", "KILL"],
        "security_opt": ["no-new-privileges", f"seccomp={seccomp.profile()}"],
        "read_only": True,
        "tmpfs": {
            "/tmp": "rw,exec,nosuid,nodev,size=536870912,mode=1777",
            "/run": "rw,noexec,nosuid,nodev,size=16777216,mode=755",
        },
        "init": True,
        "pids_limit": 512,
        "mem_limit": 2147483648,
        "memswap_limit": 2147483648,
        "nano_cpus": 2_000_000_000,
        "ulimits": [
            {"Name": "nofile", "Soft": 16384, "Hard": 16384},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "network_mode": "none",
        "ipc_mode": "private",
        "restart_policy": {"Name": "no"},
        "log_config": {"Type": "local", "Config": {"max-size": "1m", "max-file": "2"}},
        "mounts": [
            {
                "Type": "volume",
                "Source": f"acp-01234567-s7-{name}",
                "Target": target,
                "ReadOnly": False,
                "VolumeOptions": {"NoCopy": True},
            }
            for name, target in (("work", "/workspace"), ("home", "/home/agent"))
        ],
    }


def test_the_settings_pass_the_policy():
    for cgroups in (1, 2):
        refuse_dangerous(create_settings(SPEC, dataclasses.replace(FACTS, cgroup_version=cgroups)), engine_root="/e")


def test_a_runtime_is_passed_through_and_on_the_label():
    settings = create_settings(dataclasses.replace(SPEC, runtime="runsc"), FACTS)
    assert settings["host_config"]["runtime"] == "runsc"
    assert settings["labels"]["io.acp-subagents.runtime"] == "runsc"
    refuse_dangerous(settings)


def test_without_a_filter_nothing_else_changes_and_the_label_says_so():
    usual, weak = (create_settings(dataclasses.replace(SPEC, unsafe_seccomp=each), FACTS) for each in (False, True))
    assert weak["labels"].pop("io.acp-subagents.unsafe") == "unsafe_seccomp"
    assert weak["host_config"].pop("security_opt") == ["no-new-privileges", "seccomp=unconfined"]
    assert usual["host_config"].pop("security_opt") == ["no-new-privileges", f"seccomp={seccomp.profile()}"]
    assert weak == usual


def test_cgroups_are_private_where_the_engine_can():
    settings = create_settings(SPEC, dataclasses.replace(FACTS, cgroup_version=2))
    assert settings["host_config"]["cgroupns"] == "private"


def test_processors_are_never_more_than_the_engine_has():
    settings = create_settings(SPEC, dataclasses.replace(FACTS, cpus=1))
    assert settings["host_config"]["nano_cpus"] == 1_000_000_000


def test_the_name_follows_from_the_identity_and_the_volumes_outlive_an_attempt():
    assert SPEC.name == "acp-01234567-s7-3"
    again = dataclasses.replace(SPEC, attempt=4)
    assert again.name == "acp-01234567-s7-4"
    assert again.volumes == SPEC.volumes


def test_labels_say_whose_it_is_and_cannot_be_overridden():
    spec = dataclasses.replace(SPEC, labels={"io.acp-subagents.store": "forged", "io.acp-subagents.pid": "7"})
    assert spec.all_labels == {
        "io.acp-subagents.store": "0123456789abcdef",
        "io.acp-subagents.subagent": "s7",
        "io.acp-subagents.attempt": "3",
        "io.acp-subagents.role": "agent",
        "io.acp-subagents.pid": "7",
    }


def test_mounts_are_private_and_read_only_unless_asked_otherwise():
    mounts = (HostMount("/a", "/b"), HostMount("/a", "/c", read_only=False), VolumeMount("v", "/d"))
    settings = create_settings(dataclasses.replace(SPEC, mounts=mounts, work=False, home=False), FACTS)
    private = {"BindOptions": {"Propagation": "rprivate"}}
    assert settings["host_config"]["mounts"] == [
        {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True, **private},
        {"Type": "bind", "Source": "/a", "Target": "/c", "ReadOnly": False, **private},
        {"Type": "volume", "Source": "v", "Target": "/d", "ReadOnly": True, "VolumeOptions": {"NoCopy": True}},
    ]


@pytest.mark.parametrize("name", ["", "../x", "a b", "-x", "x" * 64, "a\nb", "ü"])
def test_an_identity_that_cannot_be_a_name_is_refused(name):
    for field in ("store", "subagent"):
        with pytest.raises(SettingRefused, match="cannot be part of a container's name"):
            dataclasses.replace(SPEC, **{field: name})


def test_a_sandbox_without_a_command_is_refused():
    with pytest.raises(SettingRefused, match="PID 1"):
        dataclasses.replace(SPEC, command=())


@pytest.mark.parametrize(
    "limit", [{"memory_bytes": 0}, {"memory_bytes": -1}, {"cpus": 0}, {"pids": 0}, {"tmp_bytes": -5}]
)
def test_a_limit_that_is_none_is_refused_with_its_value(limit):
    ((name, value),) = limit.items()
    with pytest.raises(SettingRefused, match=f"{name} is {value}"):
        Limits(**limit)


def test_the_profile_is_an_allow_list_without_what_it_promises_to_leave_out():
    profile = json.loads(seccomp.profile())
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert all(not arch["subArchitectures"] for arch in profile["archMap"])
    allowed = [rule for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
    names = [name for rule in allowed for name in rule["names"] if "args" not in rule]
    assert len(names) == len(set(names))
    assert {"mount", "umount2", "unshare", "setns", "clone", "clone3", "bpf", "socket", "personality"}.isdisjoint(names)
    assert {"keyctl", "io_uring_setup", "userfaultfd", "perf_event_open", "init_module", "chroot"}.isdisjoint(names)
    (clone3,) = (rule for rule in profile["syscalls"] if rule["names"] == ["clone3"])
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
