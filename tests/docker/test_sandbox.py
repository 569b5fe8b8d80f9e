"""Sandboxes on a real engine: made whole or not at all, and gone when removed."""

import asyncio
import hashlib
import json
import os

import pytest

from sandbox import command, seccomp
from sandbox.container import Sandbox
from sandbox.errors import (
    CommandTimeout,
    EngineRefused,
    EngineTimeout,
    ImageMissing,
    NameTaken,
    RuntimeMissing,
    SameUser,
    SandboxGone,
    SettingRefused,
)
from sandbox.removal import remove_volumes
from sandbox.spec import AGENT_USER, LABEL, HostMount, Limits, SandboxSpec, VolumeMount
from tests.docker.conftest import IDLE, NEVER_STARTED, TEST_LABELS
from tests.docker.recorder import BOUND, Recorder

pytestmark = pytest.mark.docker

MEGABYTE = 1024 * 1024


async def said(sandbox: Sandbox, script: str, **options) -> str:
    given = {"cwd": "/", "limit_bytes": MEGABYTE, "timeout": BOUND, **options}
    done = await sandbox.run(("sh", "-c", script), **given)
    assert done.exit_code == 0, done
    return done.stdout.decode()


async def test_the_engine_says_that_every_setting_is_as_asked(engine, make_sandbox):
    limits = Limits(memory_bytes=256 * MEGABYTE, cpus=0.5, pids=100, tmp_bytes=10 * MEGABYTE)
    sandbox = await make_sandbox(limits=limits, gid=1234)
    found = await engine.inspect_container(sandbox.id)
    host, config = found["HostConfig"], found["Config"]
    assert host["CapDrop"] == ["ALL"]
    assert sorted(name.removeprefix("CAP_") for name in host["CapAdd"]) == ["KILL", "SETGID", "SETPCAP", "SETUID"]
    assert host["Privileged"] is False
    assert host["SecurityOpt"] == ["no-new-privileges", f"seccomp={seccomp.profile()}"]
    assert host["ReadonlyRootfs"] is True
    assert host["Tmpfs"]["/tmp"] == f"rw,exec,nosuid,nodev,size={10 * MEGABYTE},mode=1777"
    assert host["Tmpfs"]["/run"].startswith("rw,noexec,nosuid,nodev,size=")
    assert host["Init"] is True
    assert host["PidsLimit"] == 100
    assert host["Memory"] == host["MemorySwap"] == 256 * MEGABYTE
    assert host["NanoCpus"] == 500_000_000
    ulimits = {limit["Name"]: (limit["Soft"], limit["Hard"]) for limit in host["Ulimits"]}
    assert ulimits == {"nofile": (16384, 16384), "core": (0, 0)}
    assert host["NetworkMode"] == "none"
    assert host["IpcMode"] == "private"
    assert (host["PidMode"], host["UTSMode"], host["UsernsMode"]) == ("", "", "")
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "1m", "max-file": "2"}}
    told = {"CapDrop", "CapAdd", "SecurityOpt", "ReadonlyRootfs", "Tmpfs", "Init", "PidsLimit", "Memory", "MemorySwap"}
    told |= {"NanoCpus", "Ulimits", "NetworkMode", "IpcMode", "RestartPolicy", "LogConfig", "Mounts"}
    usual = {"ShmSize": 64 * MEGABYTE, "Runtime": host["Runtime"]}
    usual["CgroupnsMode"] = "private" if engine.facts.cgroup_version == 2 else "host"  # engines with v1 know no other
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(host["MaskedPaths"])
    assert {"/proc/sys", "/proc/sysrq-trigger"} <= set(host["ReadonlyPaths"])
    rest = {name: value for name, value in host.items() if name not in (*told, *usual, "MaskedPaths", "ReadonlyPaths")}
    nothing = ("", 0, None, [], {}, [0, 0])
    assert {name: value for name, value in rest.items() if value not in nothing} == {}, "a field that nobody asked for"
    assert {name: host.get(name, usual[name]) for name in usual} == usual
    assert list(found["NetworkSettings"]["Networks"]) == ["none"]
    assert config["User"] == "0:1234"
    assert config["Entrypoint"] == list(IDLE)
    assert config["Cmd"] is None
    assert config["Labels"].items() >= sandbox.spec.all_labels.items()
    mounts = {mount["Destination"]: (mount["Type"], mount["Name"], mount["RW"]) for mount in found["Mounts"]}
    assert mounts == {
        "/workspace": ("volume", sandbox.spec.work_volume, True),
        "/home/agent": ("volume", sandbox.spec.home_volume, True),
    }


async def test_a_runtime_of_the_engine_runs_it_and_one_that_is_not_there_is_told_by_name(
    engine, make_sandbox, make_spec
):
    named = next(each for each in engine.facts.runtimes if "runc" in each)
    sandbox = await make_sandbox(work=False, home=False, runtime=named)
    found = await engine.inspect_container(sandbox.id)
    assert found["HostConfig"]["Runtime"] == found["Config"]["Labels"][f"{LABEL}runtime"] == named
    with pytest.raises(RuntimeMissing, match=f"no runtime 'warp', it has: .*{named}"):
        await Sandbox.create(engine, make_spec(subagent="two", runtime="warp"))


async def test_the_agent_owns_its_workspace_and_its_home_and_nothing_else(make_sandbox):
    sandbox = await make_sandbox()
    assert await said(sandbox, "id -u; id -g; echo $HOME; cd; pwd") == "10001\n10001\n/home/agent\n/home/agent\n"
    assert await said(sandbox, "stat -c '%u:%g %a' /workspace /home/agent") == "10001:10001 755\n10001:10001 700\n"
    await said(sandbox, "echo mine >/workspace/file; echo mine >$HOME/file; ln -s x /tmp/link")
    await said(sandbox, "for d in / /etc /usr /run /opt /home; do ! touch $d/x 2>/dev/null || exit 1; done")


async def test_what_the_agent_stored_is_there_in_the_next_attempt(engine, make_sandbox, make_spec):
    first = await make_sandbox()
    await said(first, "echo kept >/workspace/file; mkdir $HOME/.state; chmod 711 $HOME")
    assert await first.remove()
    second = await make_sandbox(attempt=2)
    assert second.spec.name != first.spec.name
    assert await said(second, "cat /workspace/file; test -d $HOME/.state") == "kept\n"


@pytest.mark.requirement("D08.7")
async def test_the_journal_is_roots_alone_lives_across_attempts_and_goes_with_the_volumes(engine, make_sandbox):
    first = await make_sandbox(journal=True)
    assert await said(first, "stat -c '%u:%g %a' /journal /workspace", user="0:0") == "0:0 700\n10001:10001 755\n"
    await said(first, "mkdir /journal/1 && echo kept >/journal/1/state", user="0:0")
    for tried in ("ls /journal", "cd /journal", "cat /journal/1/state", "touch /journal/x", "chmod 777 /journal"):
        assert await said(first, f"{tried} 2>/dev/null || echo refused") == "refused\n"
    assert await first.remove()
    second = await make_sandbox(journal=True, attempt=2)
    assert await said(second, "cat /journal/1/state; stat -c %a /journal", user="0:0") == "kept\n700\n"
    assert await second.remove(volumes=True)
    assert await engine.inspect_volume(second.spec.journal_volume) is None


async def test_mounts_asked_by_name_are_there_and_read_only_unless_asked_otherwise(make_sandbox, tmp_path):
    (tmp_path / "file").write_text("from the host")
    (tmp_path / "file").chmod(0o644)
    tmp_path.chmod(0o755)
    mounts = (
        HostMount(str(tmp_path), "/run/subagents"),
        VolumeMount((await make_sandbox()).spec.work_volume, "/opt/subagents/agents"),
    )
    sandbox = await make_sandbox(subagent="two", mounts=mounts)
    assert await said(sandbox, "cat /run/subagents/file") == "from the host"
    assert await said(sandbox, "touch /run/subagents/x 2>&1 || true", user="0:0") != ""
    assert await said(sandbox, "touch /opt/subagents/agents/x 2>&1 || true") != ""


async def processes(sandbox: Sandbox) -> str:
    """Return the command line of every process in it, one a line; `ps` is not in every image."""
    return await said(
        sandbox, "for each in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$each 2>/dev/null && echo; done; true"
    )


async def test_ten_megabytes_stream_into_a_command(sandbox):
    pieces = [os.urandom(MEGABYTE) for _ in range(10)]

    async def stream():
        for piece in pieces:
            yield piece

    digest = await sandbox.run(("sha256sum",), cwd="/", stdin=stream(), limit_bytes=1000, timeout=BOUND)
    assert digest.stdout.decode().split()[0] == hashlib.sha256(b"".join(pieces)).hexdigest()


async def test_a_stream_that_fails_ends_the_command_and_is_told(sandbox):
    async def stream():
        yield b"some"
        raise ValueError("the disk is gone")

    with pytest.raises(ValueError, match="the disk is gone"):
        await sandbox.run(("sh", "-c", "cat; sleep 600"), cwd="/", stdin=stream(), limit_bytes=1000, timeout=BOUND)
    assert "sleep 600" not in await processes(sandbox)


async def test_a_killing_that_the_engine_is_late_with_is_tried_again(sandbox):
    """`run` is given the sandbox's own way in, of which the engine is late with each second one."""
    asked = []

    async def late_each_second_time(argv, **options):
        asked.append(argv)
        if len(asked) % 2 == 0:
            raise EngineTimeout("The engine did not answer; it has too much to do.")
        return await sandbox.open_channel(argv, **options)

    with pytest.raises(CommandTimeout, match="and was killed"):
        await command.run(
            late_each_second_time,
            ("sleep", "605"),
            cwd="/",
            env={},
            stdin=None,
            limit_bytes=1,
            bound=0.5,
            user=AGENT_USER,
        )
    assert len(asked) >= 3
    assert "sleep 605" not in await processes(sandbox)


async def test_output_over_the_limit_is_cut_and_counted_and_the_exit_code_still_known(sandbox):
    script = "head -c 5000000 /dev/zero; echo short >&2; exit 3"
    done = await sandbox.run(("sh", "-c", script), cwd="/", limit_bytes=1000, timeout=BOUND)
    assert (done.exit_code, len(done.stdout), done.stderr, done.truncated) == (3, 1000, b"short\n", True)
    done = await sandbox.run(("printf", "1234"), cwd="/", limit_bytes=4, timeout=BOUND)
    assert (done.stdout, done.truncated) == (b"1234", False)


async def test_a_command_over_its_time_is_killed_with_what_it_started(sandbox):
    script = "setsid sleep 601 & sleep 602 & sleep 603"
    with pytest.raises(CommandTimeout, match=r"did not end within 0\.5 s"):
        await sandbox.run(("sh", "-c", script), cwd="/", limit_bytes=1000, timeout=0.5)
    assert "sleep 60" not in await processes(sandbox)


async def test_a_cancelled_command_is_killed(sandbox):
    running = asyncio.create_task(
        sandbox.run(("sh", "-c", "echo >/tmp/up; exec sleep 604"), cwd="/", limit_bytes=1, timeout=BOUND)
    )
    await said(sandbox, "until test -e /tmp/up; do :; done")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert "sleep 604" not in await processes(sandbox)


async def test_two_sandboxes_at_once_do_not_see_each_other(make_sandbox):
    one, two = await asyncio.gather(make_sandbox(subagent="one"), make_sandbox(subagent="two"))
    await asyncio.gather(said(one, "echo one >/workspace/who"), said(two, "echo two >/workspace/who"))
    assert await said(one, "cat /workspace/who; ls /workspace") == "one\nwho\n"
    # The init, PID 1's program, and the shell and the program that list them, which may or may not be seen yet.
    assert len((await processes(one)).splitlines()) <= 5
    assert await said(two, "cat /workspace/who") == "two\n"


async def test_memory_that_ran_out_is_told(make_sandbox):
    sandbox = await make_sandbox(work=False, home=False, limits=Limits(memory_bytes=64 * MEGABYTE))
    assert not (await sandbox.fate()).oom
    eat = ("python3", "-c", "x = bytearray(300_000_000); print(len(x))")
    done = await sandbox.run(eat, cwd="/", limit_bytes=1000, timeout=BOUND)
    assert done.exit_code == 137
    async with asyncio.timeout(BOUND):  # an engine hears of it beside the end of the program, perhaps after it
        while not (fate := await sandbox.fate()).oom:
            pass
    assert fate.state == "running"
    assert "memory limit" in fate.describe()


async def test_the_end_of_pid_1_ends_the_channels_and_is_told_with_its_code_and_last_words(engine, make_sandbox):
    script = "umask 0; mkfifo /tmp/end; read line </tmp/end; echo goodbye >&2; exit 9"
    sandbox = await make_sandbox(command=("sh", "-c", script), work=False, home=False)
    recorder = Recorder()
    argv = ("sh", "-c", "until test -p /tmp/end; do :; done; echo now >/tmp/end; exec sleep 600")
    await sandbox.open_channel(argv, cwd="/", env={}, receiver=recorder)
    await recorder.closed()
    await engine.wait_container(sandbox.id, bound=BOUND)
    fate = await sandbox.fate()
    assert (fate.state, fate.exit_code) == ("exited", 9)
    assert fate.describe() == "The container has exited with code 9."
    with pytest.raises(SandboxGone, match="exited with code 9; its last words: goodbye"):
        await sandbox.open_channel(("cat",), cwd="/", env={}, receiver=Recorder())


async def test_removing_is_idempotent_and_takes_the_volumes_only_when_asked(engine, make_sandbox):
    sandbox = await make_sandbox()
    assert await sandbox.remove()
    assert await engine.inspect_volume(sandbox.spec.work_volume) is not None
    assert await sandbox.remove(volumes=True)
    assert await sandbox.remove(volumes=True)
    assert await engine.inspect_volume(sandbox.spec.work_volume) is None
    assert (await sandbox.fate()).state == "gone"


async def test_removals_at_the_same_time_all_confirm(make_sandbox):
    sandbox = await make_sandbox()
    assert await asyncio.gather(*(sandbox.remove() for _ in range(4))) == [True] * 4


async def test_a_removal_that_cannot_be_done_yet_says_so_and_keeps_nothing_else(engine, make_sandbox):
    user = await make_sandbox()
    first, *rest = user.spec.volumes
    other = await make_sandbox(subagent="two", mounts=(VolumeMount(first, "/mnt"),))
    assert not await user.remove(volumes=True)
    assert [await engine.inspect_volume(each) for each in rest] == [None], "one that stays keeps the others"
    assert await other.remove()
    assert await user.remove(volumes=True)


async def test_a_volume_in_use_keeps_none_of_the_others_of_its_subagent(engine, make_sandbox):
    user = await make_sandbox()
    own = {f"{LABEL}store": user.spec.store, f"{LABEL}subagent": user.spec.subagent}
    first, *rest = [each["Name"] for each in await engine.volumes(own)]
    await make_sandbox(subagent="two", work=False, home=False, mounts=(VolumeMount(first, "/mnt"),))
    assert await user.remove()
    with pytest.raises(EngineRefused, match=first):
        await remove_volumes(engine, own, 0)
    assert rest
    assert [each["Name"] for each in await engine.volumes(own)] == [first]


async def test_what_an_earlier_try_left_under_the_name_is_replaced(make_sandbox):
    left = await make_sandbox()
    again = await make_sandbox()
    assert again.id != left.id
    assert (await left.fate()).state == "gone"
    assert (await again.fate()).state == "running"


@pytest.mark.parametrize("labels", [{}, {f"{LABEL}store": "another"}], ids=["without labels", "of another store"])
async def test_a_container_that_is_not_ours_is_never_touched(engine, make_spec, labels):
    spec = make_spec(work=False, home=False)
    settings = {
        "image": spec.image,
        "entrypoint": list(IDLE),
        "labels": {**TEST_LABELS, **labels},
        "host_config": NEVER_STARTED,
    }
    foreign = await engine.create_container(spec.name, settings)
    try:
        with pytest.raises(NameTaken, match="not of this store"):
            await Sandbox.create(engine, spec)
        assert (await engine.inspect_container(spec.name))["Id"] == foreign
    finally:
        await engine.remove_container(foreign)


async def test_a_volume_that_is_not_ours_is_never_touched(engine, make_spec):
    spec = make_spec()
    await engine.create_volume(spec.home_volume, TEST_LABELS)
    try:
        with pytest.raises(NameTaken, match="not of this store"):
            await Sandbox.create(engine, spec)
        assert await engine.inspect_volume(spec.home_volume) is not None
        assert await engine.inspect_volume(spec.work_volume) is None, "what this try made is undone"
    finally:
        await engine.remove_volume(spec.home_volume)


async def test_an_image_that_is_not_there_is_told_and_nothing_is_left(engine, make_spec):
    with pytest.raises(ImageMissing, match="no-such-image"):
        await Sandbox.create(engine, make_spec(image="no-such-image:nowhere"))


async def test_a_pid_1_that_is_not_in_the_image_is_named_at_the_first_use(engine, make_sandbox):
    sandbox = await make_sandbox(command=("/no-such-relay",), work=False, home=False)
    await engine.wait_container(sandbox.id, bound=BOUND)
    with pytest.raises(SandboxGone, match="/no-such-relay failed: No such file"):
        await said(sandbox, "true")


async def test_a_directory_that_is_not_there_is_not_made_by_the_engine(engine, make_spec, tmp_path):
    mount = HostMount(str(tmp_path / "absent"), "/mnt")
    with pytest.raises(Exception, match="does not exist"):
        await Sandbox.create(engine, make_spec(mounts=(mount,)))
    assert not (tmp_path / "absent").exists()


async def test_a_dangerous_mount_is_refused_before_anything_is_made(engine, make_spec):
    mount = HostMount("/var/run/docker.sock", "/engine")
    with pytest.raises(SettingRefused, match=r"docker\.sock"):
        await Sandbox.create(engine, make_spec(mounts=(mount,)))


async def test_the_user_that_agents_run_as_makes_no_sandbox(engine, make_spec, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 10001)
    with pytest.raises(SameUser, match="10001"):
        await Sandbox.create(engine, make_spec())


async def test_a_working_directory_in_the_kernels_trees_is_refused(sandbox):
    with pytest.raises(SettingRefused, match="/proc/self/fd/8"):
        await sandbox.run(("pwd",), cwd="/proc/self/fd/8", limit_bytes=10, timeout=BOUND)


@pytest.mark.parametrize("moment", range(6))
async def test_a_create_that_is_cancelled_at_any_moment_leaves_nothing(engine, make_spec, moment):
    """The check after the test is the oracle; each moment is another call to the engine."""
    spec: SandboxSpec = make_spec()
    reached, calls = asyncio.Event(), 0
    original = engine._client.call

    async def counting(doing, work, *, deadline):
        nonlocal calls
        calls += 1
        if calls == moment + 2:
            reached.set()
        return await original(doing, work, deadline=deadline)

    engine._client.call = counting
    creating = asyncio.create_task(Sandbox.create(engine, spec))
    await reached.wait()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating


async def test_the_environment_of_one_program_is_not_that_of_the_next(sandbox):
    assert await said(sandbox, "echo $ONLY_HERE", env={"ONLY_HERE": "a b\nc"}) == "a b c\n"
    assert await said(sandbox, "echo $ONLY_HERE") == "\n"
    assert "ONLY_HERE" not in json.dumps(await sandbox.engine.inspect_container(sandbox.id))
