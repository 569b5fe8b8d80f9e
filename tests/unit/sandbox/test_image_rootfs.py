import asyncio
import os
import platform
from pathlib import Path

import pytest

from sandbox import image_rootfs
from sandbox.image_rootfs import MACHINES, RootfsUnavailable, bootstrap, read_targets

HERE = MACHINES.get(platform.machine(), platform.machine())


def row(*fields: str, entry: str = "/nowhere:1") -> str:
    return "|".join([*fields, entry])


def test_the_mirror_is_that_of_the_own_suite_with_its_components():
    text = "\n".join(
        [
            "N: a remark of apt",
            row("Ubuntu", "noble", "main", "http://mirror/ubuntu/"),
            row("Ubuntu", "noble", "universe", "http://mirror/ubuntu/"),
            row("Ubuntu", "noble", "multiverse", "http://mirror/ubuntu/"),
            row("Ubuntu", "noble-updates", "main", "http://other/ubuntu/"),
            row("Vendor", "noble", "main", "http://vendor/"),
        ]
    )
    mirror = read_targets(text, "noble")
    assert mirror is not None
    assert (mirror.distribution, mirror.suite, mirror.address) == ("Ubuntu", "noble", "http://mirror/ubuntu/")
    assert mirror.components == ("main", "universe")


@pytest.mark.parametrize("text", ["", "E: no", row("Debian", "trixie", "main", "http://m/"), row("Debian", "sid")])
def test_lists_without_the_own_suite_give_no_mirror(text: str):
    assert read_targets(text, "bookworm") is None


@pytest.mark.parametrize(
    "source",
    ["Types: deb\nSigned-By: {}\n", "deb [arch=amd64 signed-by={}] http://m bookworm main\n", "signed-by:{}"],
)
def test_the_keyring_is_the_one_the_sources_name(tmp_path: Path, source: str):
    (keyring := tmp_path / "vendor.gpg").touch()
    (entry := tmp_path / "m.sources").write_text(f"# Signed-By: /etc/other.gpg\n{source.format(keyring)}")
    mirror = read_targets(row("Debian", "bookworm", "main", "http://m/", entry=f"{entry}:1"), "bookworm")
    assert mirror is not None
    assert mirror.keyring == keyring


def test_a_keyring_that_is_missing_or_armoured_is_left_to_debootstrap(tmp_path: Path):
    (tmp_path / "a.asc").touch()
    for name in ("a.asc", "missing.gpg"):
        (entry := tmp_path / "m.sources").write_text(f"Signed-By: {tmp_path / name}\n")
        mirror = read_targets(row("Debian", "bookworm", "main", "http://m/", entry=f"{entry}:1"), "bookworm")
        assert mirror is not None
        assert mirror.keyring is None


async def test_another_architecture_is_told_before_anything_is_done():
    said: list[str] = []
    with pytest.raises(RootfsUnavailable, match=f"the engine is riscv64 and this machine is {HERE}"):
        async with bootstrap("trixie", "riscv64", said.append):
            pass
    assert said == []


async def test_an_ordinary_user_is_told_that_it_takes_root(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    with pytest.raises(RootfsUnavailable, match="root"):
        async with bootstrap("trixie", HERE, [].append):
            pass


async def test_a_folder_left_by_a_killed_run_is_removed_and_one_in_use_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (left := tmp_path / f"{image_rootfs.PREFIX}left" / "trixie").mkdir(parents=True)
    async with image_rootfs._folder() as first:
        assert not left.exists()
        (first / "work").touch()
        async with image_rootfs._folder() as second:
            assert (first / "work").exists()
            assert first != second
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_a_program_that_does_not_end_is_killed_and_told():
    with pytest.raises(RootfsUnavailable, match=r"sh did not end within 0 s"):
        await image_rootfs._run(["sh", "-c", "exec sleep 1000"], 0.2)


async def test_what_a_program_says_is_kept_up_to_a_limit():
    code, said = await image_rootfs._run(
        ["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last; exit 3"], 60
    )
    assert (code, image_rootfs._last_line(said)) == (3, "last")
    assert len(said) <= 64 * 1024
