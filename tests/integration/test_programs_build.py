"""How our programs get from their sources into the package: compiler, wheel, sdist, editable install."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import sandbox.programs
from sandbox.errors import ProgramMissing
from sandbox.programs import ARCHITECTURES, PROGRAMS, build, program, read_program

ROOT = Path(sandbox.programs.__file__).parents[2]
SHIPPED = Path(sandbox.programs.__file__).with_name("bin")
NAMES = tuple(f"{name}-{architecture}" for name in PROGRAMS for architecture in ARCHITECTURES)
BINARIES = {f"sandbox/programs/bin/{name}" for name in (*NAMES, "SHA256SUMS")}

pytestmark = pytest.mark.timeout(900)  # the first compilation on a machine builds a C library for each architecture


def sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_two_builds_in_two_folders_give_the_same_bytes_and_those_are_the_ones_in_use(tmp_path):
    other = tmp_path / "another place"
    shutil.copytree(Path(build.__file__).parent, other, ignore=shutil.ignore_patterns("bin"))
    said: list[str] = []
    build.build(tmp_path / "first", said.append)
    build.build(tmp_path / "second", said.append, sources=other)
    assert sums(tmp_path / "first") == sums(tmp_path / "second") == sums(SHIPPED)
    assert [name for name in ARCHITECTURES for line in said[:2] if name in line] == list(ARCHITECTURES)


def test_the_programs_are_static_and_of_their_architecture():
    for architecture, machine in {"amd64": 62, "arm64": 183}.items():
        for name in ("relay", "holder"):
            found = program(name, architecture).read_bytes()
            assert found[:6] == b"\x7fELF\x02\x01"
            assert int.from_bytes(found[18:20], "little") == machine
            assert b"ld-musl" not in found
            assert b"ld-linux" not in found
            assert len(found) < 200_000


def test_an_error_in_the_source_is_told_with_its_place(tmp_path):
    source = tmp_path / "sources"
    source.mkdir()
    (source / "relay.c").write_text("int main(void) { return nothing; }\n")
    with pytest.raises(build.BuildFailed, match=r"relay\.c:1:25.*nothing"):
        build.build(tmp_path / "bin", lambda _: None, sources=source)
    assert list((tmp_path / "bin").iterdir()) == []


@pytest.mark.parametrize("architecture", ["riscv64", "", "x86_64", "../amd64"])
def test_an_unknown_architecture_is_refused_by_name(architecture):
    with pytest.raises(ProgramMissing, match="amd64 or arm64"):
        program("relay", architecture)


@pytest.mark.parametrize("missing", [*NAMES, "SHA256SUMS"])
def test_a_missing_file_is_told_with_the_remedy(tmp_path, missing):
    shutil.copytree(SHIPPED, tmp_path / "bin")
    (tmp_path / "bin" / missing).unlink()
    name, _, architecture = (missing if missing in NAMES else NAMES[0]).partition("-")
    with pytest.raises(ProgramMissing, match=f"The {name} .* cannot be read.*build.py"):
        program(name, architecture, tmp_path / "bin")


ALTERED = {
    "longer": lambda data: data + b"x",
    "shorter": lambda data: data[:-1],
    "one bit": lambda data: data[:4096] + bytes([data[4096] ^ 1]) + data[4097:],
    "empty": lambda _: b"",
}


@pytest.mark.requirement("D08.8")
@pytest.mark.parametrize("how", ALTERED)
@pytest.mark.parametrize("altered", NAMES)
def test_an_altered_program_is_refused_by_name_and_the_others_are_not(tmp_path, altered, how):
    shutil.copytree(SHIPPED, tmp_path / "bin")
    path = tmp_path / "bin" / altered
    path.write_bytes(ALTERED[how](path.read_bytes()))
    for each in NAMES:
        name, _, architecture = each.partition("-")
        if each != altered:
            assert read_program(name, architecture, tmp_path / "bin") == (SHIPPED / each).read_bytes()
            continue
        with pytest.raises(ProgramMissing, match=f"The {name} {path} is not the file that was built"):
            read_program(name, architecture, tmp_path / "bin")


def test_one_program_does_not_pass_for_another(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "bin")
    shutil.copy(SHIPPED / "relay-amd64", tmp_path / "bin" / "holder-amd64")
    with pytest.raises(ProgramMissing, match=r"The holder .* is not the file that was built"):
        read_program("holder", "amd64", tmp_path / "bin")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A source tree as cloned, with a certificate of this machine's owner in the ignored folder."""
    tree = tmp_path / "checkout"
    tree.mkdir()
    for name in ("acp_runtime", "sandbox", "images"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("bin", "__pycache__"))
    for name in ("pyproject.toml", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tree)
    (tree / "README.md").write_text("# A checkout\n")
    (tree / "images" / "certs").mkdir(exist_ok=True)
    (tree / "images" / "certs" / "of-my-company.crt").write_text("private\n")
    return tree


def pack(tree: Path, target: str, folder: Path) -> Path:
    argv = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(argv, cwd=tree, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stderr
    (made,) = folder.iterdir()
    return made


def test_the_wheel_holds_the_programs_executable_and_the_images_without_certificates(checkout, tmp_path):
    wheel = pack(checkout, "wheel", tmp_path / "out")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        modes = {name: archive.getinfo(name).external_attr >> 16 & 0o777 for name in BINARIES}
    assert wheel.name.endswith("-py3-none-any.whl")
    assert names >= BINARIES | {"sandbox/_images/images.toml", "sandbox/programs/relay.c", "sandbox/programs/holder.c"}
    assert {modes[f"sandbox/programs/bin/{name}"] for name in NAMES} == {0o755}
    assert not [name for name in names if name.endswith((".crt", ".pyc"))]
    packed = {name.replace("sandbox/_images/", "images/") for name in names}
    sources = [path for top in ("acp_runtime", "sandbox", "images") for path in (checkout / top).rglob("*")]
    left_out = (".crt", ".pyc")
    files = {
        path.relative_to(checkout).as_posix() for path in sources if path.is_file() and path.suffix not in left_out
    }
    assert files <= packed


@pytest.mark.requirement("D08.8")
def test_the_sdist_holds_the_source_only_and_makes_the_same_wheel(checkout, tmp_path):
    sdist = pack(checkout, "sdist", tmp_path / "out")
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
        # Python 3.11.4 brought the filter, 3.12 asks for one.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path / "unpacked")
    assert not [name for name in names if "/bin/" in name or name.endswith(".crt")]
    (tree,) = (tmp_path / "unpacked").iterdir()
    again, direct = pack(tree, "wheel", tmp_path / "again"), pack(checkout, "wheel", tmp_path / "direct")
    assert again.read_bytes() == direct.read_bytes()
    with zipfile.ZipFile(again) as archive:
        built = {name: archive.read(name) for name in BINARIES}
    assert built == {name: (SHIPPED / Path(name).name).read_bytes() for name in BINARIES}


def test_an_editable_install_compiles_into_the_checkout_and_points_at_it(checkout, tmp_path):
    wheel = pack(checkout, "wheel:editable", tmp_path / "out")
    assert program("relay", "amd64", checkout / "sandbox" / "programs" / "bin").stat().st_mode & 0o777 == 0o755
    with zipfile.ZipFile(wheel) as archive:
        (pointer,) = (name for name in archive.namelist() if name.endswith(".pth"))
        assert archive.read(pointer).decode().strip() == str(checkout)
