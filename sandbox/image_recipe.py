"""What the two images are made of: the files and versions under `images/`, and this machine's certificates.

Promises: reading is the only effect. Names are functions of content (not of times, modes or places), so two checkouts
with the same files agree, whoever runs them. A build context is a tar with fixed modes, owners and times.
"""

import hashlib
import io
import json
import os
import re
import tarfile
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ARCHITECTURES", "INDEXES", "Recipe", "data_folder", "load_recipe", "network_arguments"]

ARCHITECTURES = ("amd64", "arm64")
HOST_CERTIFICATES = Path("/usr/local/share/ca-certificates")
CERTIFICATE_LIMIT = 1_048_576  # bytes of one file; a bundle of all public authorities is a quarter of it
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY")  # which every Dockerfile knows without ARG
INDEXES = ("PIP_INDEX_URL", "NPM_CONFIG_REGISTRY")

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_WORD = re.compile(r"[a-z][a-z0-9-]*")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)+")
_IMAGE = re.compile(r"[a-z0-9][a-z0-9./_-]*:[A-Za-z0-9._-]+")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what the images hold.

    `rootfs_image` is an unqualified name that any registry of Debian images answers to, `suite` the same by its
    package mirror's name. `opencode` maps an architecture to the pinned version. The files are name → content.
    """

    rootfs_image: str
    suite: str
    packages: tuple[str, ...]
    agents: Mapping[str, Mapping[str, str]]
    base_files: Mapping[str, bytes]
    agents_files: Mapping[str, bytes]
    certificates: tuple[bytes, ...]

    def base_name(self, architecture: str) -> str:
        """Name of the default image for one architecture."""
        parts = {"image": self.rootfs_image, "suite": self.suite, "packages": self.packages}
        return f"acp-subagents/base:{_digest(architecture, parts, self.base_files, self.certificates)}"

    def agents_key(self, architecture: str) -> str:
        """Give the hash that names the agents image and volume.

        Certificates and the base are only the way in: what arrives is checked against the lock files, which are here.
        """
        return _digest(architecture, self.agents[architecture], self.agents_files, ())

    def versions(self, architecture: str) -> str:
        """Give what `agents/versions` prints where every program is the right one: name and version, a line each."""
        return "\n".join(f"{name} {version}" for name, version in sorted(self.agents[architecture].items()))

    def base_context(self) -> bytes:
        """Build context of the default image: its files and `certs/`."""
        named = {f"certs/{hashlib.sha256(one).hexdigest()[:16]}.crt": one for one in self.certificates}
        return _tar({**self.base_files, "certs/.keep": b"", **named})

    def agents_context(self) -> bytes:
        """Build context of the agents image."""
        return _tar(self.agents_files)


def data_folder() -> Path:
    """Find the folder that holds `images.toml`: inside the installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    packed, checkout = here / "_images", here.parent / "images"
    return packed if (packed / "images.toml").is_file() else checkout


def load_recipe(folder: Path | None = None, host_certificates: Path = HOST_CERTIFICATES) -> Recipe:
    """Read and check the recipe. ValueError names the file, the key and what is allowed there."""
    folder = folder or data_folder()
    file = folder / "images.toml"
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file} is missing: the installation is incomplete, so install the package again.") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{file} is not valid TOML: {error}.") from None
    reader = _Reader(file, table)
    return Recipe(
        rootfs_image=reader.text("base.image", _IMAGE),
        suite=reader.text("base.suite", _WORD),
        packages=reader.texts("base.packages", _PACKAGE),
        agents={architecture: reader.versions("agents", architecture) for architecture in ARCHITECTURES},
        base_files=_files(folder / "base"),
        agents_files=_files(folder / "agents"),
        certificates=_certificates((host_certificates, folder / "certs")),
    )


def network_arguments(environ: Mapping[str, str], also: Iterable[str] = ()) -> dict[str, str]:
    """Pick the settings that a build needs to reach the network: proxies in either spelling, and those in `also`."""
    names = [*(spelling for name in PROXIES for spelling in (name, name.lower())), *also]
    return {name: environ[name] for name in names if environ.get(name)}


@dataclass(frozen=True)
class _Reader:
    file: Path
    table: dict[str, Any]

    def _value(self, key: str) -> Any:
        value: Any = self.table
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def text(self, key: str, allowed: re.Pattern[str]) -> str:
        value = self._value(key)
        if not isinstance(value, str) or not allowed.fullmatch(value):
            raise ValueError(f"{self.file}: {key} is {value!r}, but must be a text like {allowed.pattern}.")
        return value

    def versions(self, key: str, architecture: str) -> dict[str, str]:
        """Read a table of versions; one that depends on the architecture is a table itself."""
        table = self._value(key)
        if not isinstance(table, dict) or not table:
            raise ValueError(f"{self.file}: {key} is {table!r}, but must be a table of names and versions.")
        keys = {
            name: f"{key}.{name}.{architecture}" if isinstance(table[name], dict) else f"{key}.{name}" for name in table
        }
        return {name: self.text(path, _VERSION) for name, path in keys.items()}

    def texts(self, key: str, allowed: re.Pattern[str]) -> tuple[str, ...]:
        values = self._value(key)
        if not isinstance(values, list) or not values:
            raise ValueError(f"{self.file}: {key} is {values!r}, but must be a list of at least one text.")
        for value in values:
            if not isinstance(value, str) or not allowed.fullmatch(value):
                raise ValueError(f"{self.file}: {key} holds {value!r}, but must hold texts like {allowed.pattern}.")
        return tuple(sorted(values))


def _files(folder: Path) -> dict[str, bytes]:
    """Content of a flat folder; hidden files (editors, version control) are no part of it."""
    found = {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}
    if "Dockerfile" not in found:
        raise ValueError(f"{folder} has no Dockerfile: the installation is incomplete, so install the package again.")
    return found


def _certificates(folders: Iterable[Path]) -> tuple[bytes, ...]:
    """Every extra certificate once, in an order that does not depend on where it was found."""
    paths = [path for folder in folders for path in folder.rglob("*.crt")]
    readable = (path for path in paths if path.is_file() and os.access(path, os.R_OK))
    return tuple(sorted({path.read_bytes() for path in readable if path.stat().st_size <= CERTIFICATE_LIMIT}))


def _digest(
    architecture: str, parts: Mapping[str, Any], files: Mapping[str, bytes], certificates: Iterable[bytes]
) -> str:
    seen = hashlib.sha256(json.dumps([architecture, parts], sort_keys=True).encode())
    for name, content in sorted(files.items()):
        seen.update(f"\0{name}\0{len(content)}\0".encode() + content)
    for content in certificates:
        seen.update(b"\0certificate\0" + hashlib.sha256(content).digest())
    return seen.hexdigest()[:16]


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()
