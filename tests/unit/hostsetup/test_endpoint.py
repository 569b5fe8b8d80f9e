"""Which engine is meant: the order of Docker's own client."""

import hashlib
import json

import pytest
from hostsetup.endpoint import resolve
from hostsetup.talk import Stop


@pytest.fixture
def home(tmp_path):
    config = tmp_path / ".docker"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"currentContext": "far"}))
    add_context(config, "far", {"Endpoints": {"docker": {"Host": "tcp://far:2376"}}})
    add_context(config, "near", {"Endpoints": {"docker": {"Host": "unix:///near.sock"}}})
    return tmp_path


def add_context(config, name, meta):
    folder = config / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps(meta))


def test_nothing_set_means_the_default_socket(tmp_path):
    found = resolve({}, tmp_path)
    assert (found.url, found.chosen) == ("unix:///var/run/docker.sock", False)


def test_docker_host_wins_over_every_context(home):
    found = resolve({"DOCKER_HOST": "unix:///here.sock", "DOCKER_CONTEXT": "near"}, home)
    assert (found.url, found.source, found.chosen, found.tls) == ("unix:///here.sock", "DOCKER_HOST", True, None)


def test_docker_context_wins_over_the_configured_one(home):
    assert resolve({"DOCKER_CONTEXT": "near"}, home).url == "unix:///near.sock"
    assert resolve({}, home).url == "tcp://far:2376"


def test_the_context_named_default_is_the_default_socket(home):
    assert resolve({"DOCKER_CONTEXT": "default"}, home).chosen is False


def test_docker_config_moves_the_folder(home, tmp_path):
    assert resolve({"DOCKER_CONFIG": str(home / ".docker")}, tmp_path / "elsewhere").url == "tcp://far:2376"


def test_certificates_come_from_the_named_folder_or_the_configuration(home):
    assert resolve({"DOCKER_HOST": "tcp://x:1", "DOCKER_TLS_VERIFY": "1"}, home).tls == home / ".docker"
    named = {"DOCKER_HOST": "tcp://x:1", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(home)}
    assert resolve(named, home).tls == home


def test_a_context_brings_its_own_certificates(home):
    folder = home / ".docker" / "contexts" / "tls" / hashlib.sha256(b"far").hexdigest() / "docker"
    folder.mkdir(parents=True)
    assert resolve({}, home).tls == folder


def test_a_context_that_does_not_exist_is_named(home):
    with pytest.raises(Stop, match=r"'gone', but there is no such context; see `docker context ls`"):
        resolve({"DOCKER_CONTEXT": "gone"}, home)


@pytest.mark.parametrize("meta", [{}, {"Endpoints": {}}, {"Endpoints": []}, {"Endpoints": {"docker": {"Host": 7}}}])
def test_a_context_without_an_address_is_named(home, meta):
    add_context(home / ".docker", "odd", meta)
    with pytest.raises(Stop, match="'odd' names no engine"):
        resolve({"DOCKER_CONTEXT": "odd"}, home)


def test_an_unreadable_configuration_is_told_with_its_path(home):
    (home / ".docker" / "config.json").write_text("{")
    with pytest.raises(Stop, match=r"config\.json .* cannot be read"):
        resolve({}, home)


@pytest.mark.parametrize("text", ["[]", "null", '{"currentContext": 7}', "{}"])
def test_a_configuration_without_a_usable_context_means_the_default(home, text):
    (home / ".docker" / "config.json").write_text(text)
    assert resolve({}, home).chosen is False
