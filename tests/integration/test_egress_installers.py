"""Real installers behind the proxy, each with a registry of the test: what they ask for is admitted, and arrives."""

import asyncio
import contextlib
import gzip
import hashlib
import http.server
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from acp_runtime.carrying import CarryingLimits, HttpServer
from acp_runtime.egress.contact import Contact
from acp_runtime.egress.proxy import EgressProxy, Policy
from acp_runtime.egress.registry import Registry, builtin_registries
from acp_runtime.egress.resolving import Resolver
from acp_runtime.egress.rules import Rules
from tests.integration.relay_process import running

pytestmark = [pytest.mark.long, pytest.mark.requirement("D09.8")]

BOUND = 100.0
URL = "http://registry.example.org"


def tar(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return data.getvalue()


def wheel() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("tiny.py", "WORD = 'installed'\n")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return data.getvalue()


def pip_pages(url: str) -> dict[str, bytes]:
    made = wheel()
    link = f"{url}/files/packages/ab/tiny-1.0-py3-none-any.whl#sha256={hashlib.sha256(made).hexdigest()}"
    return {
        "/simple/tiny/": f'<!DOCTYPE html><a href="{link}">tiny-1.0-py3-none-any.whl</a>'.encode(),
        "/files/packages/ab/tiny-1.0-py3-none-any.whl": made,
    }


def npm_pages(url: str) -> dict[str, bytes]:
    made = tar({"package/package.json": b'{"name":"@some/tiny","version":"1.0.0"}', "package/index.js": b""})
    dist = {"tarball": f"{url}/@some/tiny/-/tiny-1.0.0.tgz", "shasum": hashlib.sha1(made).hexdigest()}
    version = {"name": "@some/tiny", "version": "1.0.0", "dist": dist}
    page = json.dumps({"name": "@some/tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}})
    return {"/@some%2ftiny": page.encode(), "/@some/tiny/-/tiny-1.0.0.tgz": made}


def cargo_pages(url: str) -> dict[str, bytes]:
    manifest = b'[package]\nname = "tiny"\nversion = "1.0.0"\nedition = "2021"\n'
    made = tar({"tiny-1.0.0/Cargo.toml": manifest, "tiny-1.0.0/src/lib.rs": b"pub fn word() {}\n"})
    crate = {"name": "tiny", "vers": "1.0.0", "deps": [], "cksum": hashlib.sha256(made).hexdigest(), "features": {}}
    return {
        "/index/config.json": json.dumps({"dl": f"{url}/crates", "api": url}).encode(),
        "/index/ti/ny/tiny": json.dumps({**crate, "yanked": False}).encode() + b"\n",
        "/crates/tiny/1.0.0/download": made,
    }


def apt_pages(_: str) -> dict[str, bytes]:
    packages = b"Package: tiny\nVersion: 1\nArchitecture: all\nFilename: pool/tiny.deb\nSize: 1\n\n"
    forms = {"Packages": packages, "Packages.gz": gzip.compress(packages)}
    listed = {f"main/binary-{arch}/{name}": data for arch in ("all", "amd64", "arm64") for name, data in forms.items()}
    head = "Suite: stable\nDate: Sat, 21 Nov 2026 00:00:00 UTC\nComponents: main\nArchitectures: all amd64 arm64\n"
    sums = "SHA256:\n" + "".join(
        f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" for name, data in listed.items()
    )
    pages = {"Release": f"{head}SHA256:\n{sums}".encode(), **listed}
    return {f"/debian/dists/stable/{name}": data for name, data in pages.items()}


@contextlib.contextmanager
def serving(pages: dict[str, bytes]) -> Iterator[int]:
    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = pages.get(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("content-type", "text/html" if self.path.startswith("/simple/") else "application/json")
            self.send_header("content-length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@dataclass
class Place:
    """Where an installer runs: an empty home and folder, and the variables that a sandbox has."""

    folder: Path
    env: dict[str, str]
    contacts: list[Contact] = field(default_factory=list)

    async def run(self, *argv: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=self.folder, env=self.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        async with asyncio.timeout(BOUND):
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()[-3000:]
        return said.decode()


@contextlib.asynccontextmanager
async def place_with(name: str, program: Path, folder: Path) -> AsyncIterator[Place]:
    """A place whose proxy stands where the container's would, with a registry on loopback."""
    pages: dict[str, bytes] = {}
    contacts: list[Contact] = []
    limits = CarryingLimits()
    with serving(pages) as port:
        url = f"{URL}:{port}"
        pages.update({"pip": pip_pages, "npm": npm_pages, "cargo": cargo_pages, "apt": apt_pages}[name](url))
        registry: Registry = builtin_registries()[name]
        registry = registry.moved({each.name: url + each.at for each in registry.places}, private=True)
        async with running(program, folder / "egress.sock") as relay:
            here = f"127.0.0.1:{relay.port}"
            resolver = Resolver(lambda _, __: ["127.0.0.1"])
            policy = Policy(Rules(), (registry,))
            proxy = EgressProxy(policy, contacts.append, here=here, carrying=limits, resolver=resolver)
            async with HttpServer(folder / "egress.sock", os.getgid(), proxy, limits):
                home = folder / "home"
                for path, text in registry.home_files(here).items():
                    (home / path).parent.mkdir(parents=True)
                    (home / path).write_text(text)
                (folder / "work").mkdir()
                kept = {key: os.environ[key] for key in ("PATH", "RUSTUP_HOME") if key in os.environ}
                kept.setdefault("RUSTUP_HOME", str(Path.home() / ".rustup"))
                proxies = {"http_proxy": f"http://{here}", "https_proxy": f"http://{here}", "no_proxy": "127.0.0.1"}
                told = {**registry.environment(here), **proxies, "HOME": str(home)}
                if "CARGO_HOME" in told:
                    told["CARGO_HOME"] = str(home / ".cargo")
                yield Place(folder / "work", {**kept, **told}, contacts)
    assert [contact for contact in contacts if contact.refused] == []


def needed(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no installer: {program}")
    return found


async def test_pip_installs_from_its_registry(program: Path, tmp_path: Path):
    async with place_with("pip", program, tmp_path) as place:
        argv = (sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--target=there")
        if (await asyncio.create_subprocess_exec(*argv[:3], "--version", stdout=asyncio.subprocess.DEVNULL)).returncode:
            pytest.skip("no installer: pip")
        index = place.env["PIP_INDEX_URL"]  # which --isolated has it leave out
        await place.run(*argv, "--index-url", index, "tiny")
        assert (place.folder / "there" / "tiny.py").read_text() == "WORD = 'installed'\n"
    assert [contact.path for contact in place.contacts] == [
        "/simple/tiny/", "/packages/ab/tiny-1.0-py3-none-any.whl"
    ]  # fmt: skip


async def test_npm_installs_from_its_registry_and_writes_no_address_of_the_proxy_down(program: Path, tmp_path: Path):
    npm = needed("npm")
    async with place_with("npm", program, tmp_path) as place:
        (place.folder / "package.json").write_text('{"name":"x","version":"1.0.0"}')
        await place.run(npm, "install", "@some/tiny")
        assert (place.folder / "node_modules/@some/tiny/index.js").exists()
        assert "127.0.0.1" not in (place.folder / "package-lock.json").read_text()


async def test_cargo_fetches_from_its_registry(program: Path, tmp_path: Path):
    cargo = needed("cargo")
    async with place_with("cargo", program, tmp_path) as place:
        (place.folder / "src").mkdir()
        (place.folder / "src/lib.rs").write_text("")
        manifest = '[package]\nname = "x"\nversion = "0.1.0"\nedition = "2021"\n[dependencies]\ntiny = "1"\n'
        (place.folder / "Cargo.toml").write_text(manifest)
        await place.run(cargo, "fetch")
        assert "127.0.0.1" not in (place.folder / "Cargo.lock").read_text()
    assert [contact.path for contact in place.contacts] == ["/config.json", "/ti/ny/tiny", "/tiny/1.0.0/download"]


async def test_apt_reads_the_lists_of_its_registry_over_the_proxy(program: Path, tmp_path: Path):
    apt = needed("apt-get")
    async with place_with("apt", program, tmp_path) as place:
        for name in ("lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d", "log"):
            (place.folder / name).mkdir(parents=True)
        (place.folder / "status").write_text("")
        (place.folder / "sources").write_text("deb [trusted=yes] http://deb.debian.org/debian stable main\n")
        folder = place.folder
        set_to = {
            "Dir::State::Lists": folder / "lists", "Dir::Cache": folder / "cache",
            "Dir::State::Status": folder / "status",
            "Dir::Etc::SourceList": folder / "sources", "Dir::Etc::SourceParts": "-", "Dir::Etc::Parts": "-",
            "Dir::Log": folder / "log", "APT::Sandbox::User": "", "Acquire::Languages": "none",
            "Acquire::AllowInsecureRepositories": "true",
        }  # fmt: skip
        place.env["APT_CONFIG"] = str(folder / "apt.conf")
        (folder / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in set_to.items()))
        await place.run(apt, "update")
    assert {contact.allowed_by for contact in place.contacts} == {"registry apt"}
    assert any(contact.path.startswith("/dists/stable/main/binary-") for contact in place.contacts)
