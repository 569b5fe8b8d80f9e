"""What the doctor knows by itself: holes of runtime and engine, what these lack, and what is nobody's business."""

from dataclasses import replace

import pytest

from acp_runtime.cli.escapes import open_escapes
from acp_runtime.cli.finding import Finding, Mark
from acp_runtime.cli.isolation import about_engine, about_presets, about_registries
from acp_runtime.cli.redaction import redacted
from acp_runtime.core.confinement import Confinement, Mount
from acp_runtime.egress.registry import builtin_registries
from acp_runtime.presets import Preset, builtin_presets
from sandbox.engine_facts import EngineFacts


@pytest.mark.parametrize(
    ("version", "count"),
    [
        ("1.1.5+deb12u1", 3), ("1.1.11", 3), ("1.1.12", 2), ("1.2.7", 2), ("1.2.8", 1), ("1.3.2", 2), ("1.3.3", 1),
        ("1.3.6", 0), ("1.4.0", 1), ("1.4.3", 0), ("1.5.0", 0), ("2.0.0", 0), ("v1.5.1-rc.1", 0), ("", 0),
        ("unknown", 0),
    ],
)  # fmt: skip
def test_a_version_of_the_runtime_has_the_holes_that_it_has(version: str, count: int) -> None:
    assert len(open_escapes("runc", version)) == count


@pytest.mark.parametrize(
    ("version", "count"),
    [
        ("19.03.15", 4), ("20.10.8", 4), ("20.10.9", 3), ("20.10.14", 2), ("20.10.17", 2), ("20.10.24+dfsg1", 1),
        ("23.0.6", 1), ("24.0.9", 0), ("25.0.1", 1), ("25.0.2", 0), ("28.2.2", 0), ("29.0.0-rc.1", 0), ("", 0),
    ],
)  # fmt: skip
def test_a_version_of_the_engine_has_the_holes_that_it_has(version: str, count: int) -> None:
    assert len(open_escapes("Docker", version)) == count


FACTS = EngineFacts(
    version="28.2.2",
    api_version="1.50",
    os="linux",
    architecture="amd64",
    cpus=2,
    cgroup_version=2,
    security_options=(),
    name="box",
    root_dir="/var/lib/docker",
    runtime="1.4.3",
    runtimes=("runc", "runsc"),
)
NO_USERNS = "without user namespaces (the root of a container is that of its machine)"
SECOND = "Every sandbox has the filter; what is lacking would be a second fence behind it"


@pytest.mark.parametrize(
    ("options", "mark", "told"),
    [
        ((), Mark.BAD, "the engine filters no system calls: use one with seccomp"),
        (
            ("seccomp",),
            Mark.WARN,
            f"seccomp; without AppArmor or SELinux, and {NO_USERNS}. {SECOND}",
        ),
        (
            ("apparmor", "seccomp,profile=builtin", "cgroupns"),
            Mark.GOOD,
            f"seccomp, AppArmor; {NO_USERNS}",
        ),
        (("selinux", "seccomp", "userns"), Mark.GOOD, "seccomp, SELinux, user namespaces"),
        (("apparmor", "seccomp", "rootless"), Mark.GOOD, "seccomp, AppArmor, rootless"),
    ],
    ids=str,
)
def test_what_an_engine_lacks_is_named(options: tuple[str, ...], mark: Mark, told: str) -> None:
    facts = replace(FACTS, security_options=tuple(f"name={each}" for each in options))
    assert list(about_engine(facts))[1:] == [Finding(mark, "isolation", told)]


def test_holes_of_runtime_and_engine_are_warnings() -> None:
    old = replace(FACTS, version="20.10.8", runtime="1.1.5", security_options=("name=apparmor", "name=seccomp"))
    found = {each.what: each for each in about_engine(old)}
    assert {found["runtime"].mark, found["dockerd"].mark} == {Mark.WARN}
    assert (
        "runc 1.1.5 has known holes unless its distribution mended them: CVE-2024-21626, " in found["runtime"].sentence
    )
    assert "Docker 20.10.8 has known holes" in found["dockerd"].sentence


def test_presets_that_weaken_and_runtimes_that_are_not_there_are_named() -> None:
    weak = Confinement(unsafe_seccomp=True, mounts=(Mount("/a", "/x", writable=True),), runtime="kata")
    presets = {**builtin_presets(runtime="runsc"), "weak": Preset("weak", "", weak)}
    warning = Finding(Mark.WARN, "preset", "weak weakens its sandboxes: unsafe_writable /x, unsafe_seccomp")
    missing = Finding(Mark.BAD, "runtime", "the engine has no kata, which is configured; it has: runc, runsc")
    assert list(about_presets(presets, FACTS)) == [warning, missing]
    assert list(about_presets(presets, None)) == [warning]
    assert list(about_presets(builtin_presets(), FACTS)) == []


def test_registries_on_private_networks_are_named() -> None:
    known = builtin_registries()
    assert list(about_registries(known)) == []
    pip = known["pip"].moved({"index": "http://mirror.lan", "files": "http://mirror.lan"}, private=True)
    sentence = "pip is unsafe_private: sandboxes that are given it reach http://mirror.lan"
    assert list(about_registries({**known, "pip": pip})) == [Finding(Mark.WARN, "registry", sentence)]


SECRETS = {
    "Authorization: Bearer abcdef123456": "abcdef123456",
    "Authorization: Basic dXNlcjpwYXNz": "dXNlcjpwYXNz",
    "api_key=k-123456": "k-123456",
    "TOKEN = t0ps3cret": "t0ps3cret",
    '{"apiKey": "zzz999"}': "zzz999",
    "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG": "wJalrXUtnFEMI",
    "AKIAIOSFODNN7EXAMPLE": "AKIAIOSFODNN7",
    "password is hunter2": "hunter2",
    "https://user:hunter2@host/x": "hunter2",
    "https://user:p@ss@host/x": "p@ss",
    "https://user:p/w@host/x": "p/w",
    "https://0123456789abcdef@host/x": "0123456789abcdef",
    "sk-live-1234567890": "1234567890",
    "github_pat_11ABCDEFG0abcdefgh": "11ABCDEFG0",
    "ghs_16C7e42F292c6912E7": "16C7e42F292c",
    "glpat-abcdefghij1234567890": "abcdefghij",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv": "SyA1234567890",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4": "eyJzdWIiOiIxMjM0In0",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----": "IBAAKC",
    "the value of a variable, plain-words": "plain-words",
}


@pytest.mark.requirement("D10.11")
@pytest.mark.parametrize(("told", "secret"), SECRETS.items())
def test_a_report_holds_no_secret(told: str, secret: str) -> None:
    said = redacted(f"it was {told} and went on", {"MY_API_KEY": "plain-words", "SHORT_KEY": "on", "HOME": "/home/me"})
    assert secret not in said
    assert said.startswith("it was ")
    assert said.endswith(" and went on")


def test_a_report_says_what_is_no_secret() -> None:
    said = "2026-01-01 INFO 12 daemon: listens on /run/x.sock for store 59f4ae2b, epoch 1; the key; a token budget"
    assert redacted(said, {"HOME": "/home/me"}) == said
    assert redacted("in /home/me/x", {"HOME": "/home/me"}) == "in ~/x"
