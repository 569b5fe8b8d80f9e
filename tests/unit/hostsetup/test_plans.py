"""The pure decisions below the engine policy: what apt would do, how an environment is made, what helps a daemon."""

import itertools

import pytest
from hostsetup.installers import Tools, Way, choose_way
from hostsetup.packages import Plan, read_os_id
from hostsetup.python_env import Stamp, Step, next_step, pip_environment, stamp_of
from hostsetup.remedies import remedy
from hostsetup.talk import Stop

SIMULATION = """NOTE: This is only a simulation!
Inst runc (1.1.5 Debian:12/stable [amd64])
Inst docker.io (20.10.24 Debian:12/stable [amd64])
Inst ca-certificates [20230311] (20250419 Debian:12/stable [all]) []
Remv podman-docker [4.3.1]
Purg old-thing [1]
Conf runc (1.1.5 Debian:12/stable [amd64])
"""


def test_an_apt_simulation_is_read_as_new_updated_and_removed():
    plan = Plan.parse(SIMULATION)
    assert plan == Plan(("runc", "docker.io"), ("ca-certificates",), ("podman-docker", "old-thing"))


@pytest.mark.parametrize(
    ("text", "os_id"),
    [('PRETTY_NAME="X"\nID=debian\n', "debian"), ('ID="ubuntu"\nID_LIKE=debian', "ubuntu"), ("ID_LIKE=debian\n", "")],
)
def test_the_distribution_is_its_own_id_not_what_it_is_like(tmp_path, text, os_id):
    (tmp_path / "os-release").write_text(text)
    assert read_os_id(tmp_path / "os-release") == os_id


def test_a_machine_without_os_release_has_no_id(tmp_path):
    assert read_os_id(tmp_path / "os-release") == ""


def every_toolbox():
    for ensurepip, pip, virtualenv, uv, root, apt in itertools.product((False, True), repeat=6):
        yield Tools(
            python="/usr/bin/python3",
            ensurepip=ensurepip,
            pip=pip,
            virtualenv="/usr/bin/virtualenv" if virtualenv else "",
            uv="/usr/bin/uv" if uv else "",
            root=root,
            apt=apt,
            package="python3.11-venv",
        )


def test_an_environment_is_made_with_the_first_thing_that_is_here_and_a_package_comes_last():
    for tools in every_toolbox():
        order = [
            (tools.ensurepip, Way.VENV),
            (tools.pip, Way.HOST_PIP),
            (tools.virtualenv, Way.VIRTUALENV),
            (tools.uv, Way.UV),
            (tools.root and tools.apt, Way.APT),
        ]
        ways = [way for works, way in order if works]
        if ways:
            assert choose_way(tools) is ways[0]
        else:
            words = "sudo apt-get install python3.11-venv" if tools.apt else "install venv, virtualenv or uv"
            with pytest.raises(Stop, match=words):
                choose_way(tools)


STAMP = Stamp("packages", "project")


@pytest.mark.parametrize(
    ("found", "compiled", "step"),
    [
        (STAMP, True, Step.NOTHING),
        (STAMP, False, Step.PROJECT),
        (Stamp("packages", "older"), True, Step.PROJECT),
        (Stamp("older", "project"), True, Step.EVERYTHING),
        (None, True, Step.EVERYTHING),
    ],
)
def test_only_what_changed_is_done_again(found, compiled, step):
    assert next_step(found, STAMP, compiled=compiled) is step


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "dev.lock").write_text("a==1\n")
    (tmp_path / "sandbox" / "programs").mkdir(parents=True)
    (tmp_path / "sandbox" / "programs" / "relay.c").write_text("int main;\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("requirements/dev.lock", "packages"),
        ("pyproject.toml", "project"),
        ("sandbox/programs/relay.c", "project"),
        ("sandbox/programs/new.h", "project"),
        ("README.md", ""),
    ],
)
def test_a_stamp_changes_with_what_the_environment_is_made_from(checkout, path, changes):
    before = stamp_of(checkout)
    (checkout / path).write_text("something else\n")
    after = stamp_of(checkout)
    changed = [name for name in ("packages", "project") if getattr(before, name) != getattr(after, name)]
    assert changed == [changes] * bool(changes)


def test_pip_keeps_the_persons_index_and_certificates_but_not_their_other_targets():
    env = pip_environment(
        {"PIP_CERT": "/c", "HTTPS_PROXY": "p", "PIP_TARGET": "/x", "PYTHONPATH": "/y", "PIP_USER": "1"}
    )
    assert (env["PIP_CERT"], env["HTTPS_PROXY"], env["PIP_USER"]) == ("/c", "p", "0")
    assert not {"PIP_TARGET", "PYTHONPATH"} & env.keys()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("failed to register bridge driver: failed to create NAT chain: iptables not found", "iptables"),
        ("error initializing graphdriver: driver not supported", "vfs"),
        ("Devices cgroup isn't mounted", "cgroupfs-mount"),
        ("Error creating default bridge network: operation not permitted", '"bridge": "none"'),
        ("unable to configure the Docker daemon with file /etc/docker/daemon.json: invalid character", "mend"),
        ("mkdir /var/lib/docker/tmp: no space left on device", "make room"),
        ("mount: operation not permitted", "DOCKER_HOST"),
        ("something nobody has seen before", "read its log"),
    ],
)
def test_the_last_words_of_a_daemon_lead_to_a_remedy(line, words):
    assert words in remedy(["level=info msg=Starting", line])


def test_the_latest_known_line_decides():
    assert "make room" in remedy(["iptables is slow", "no space left on device", "exiting"])
