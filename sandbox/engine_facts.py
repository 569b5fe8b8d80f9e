"""What an engine says about itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engine says about itself; `architecture` is amd64 or arm64, `cgroup_version` 1 or 2.

    `runtime` is the version of runc, empty where the engine does not tell it; `runtimes` are what containers may be
    run with, by name.
    """

    version: str
    api_version: str
    os: str
    architecture: str
    cpus: int
    cgroup_version: int
    security_options: tuple[str, ...]
    name: str
    root_dir: str
    runtime: str = ""
    runtimes: tuple[str, ...] = ()

    @classmethod
    def read(cls, info: Mapping[str, Any], version: Mapping[str, Any], api_version: str) -> Self:
        """Return them from the engine's answers to `info` and `version`."""
        runc = (str(each["Version"]) for each in version.get("Components") or () if each["Name"] == "runc")
        return cls(
            version=str(version["Version"]),
            api_version=api_version,
            os=str(version.get("Os", info.get("OSType", ""))),
            architecture=str(version["Arch"]),
            cpus=int(info.get("NCPU") or 1),
            cgroup_version=int(info.get("CgroupVersion") or 1),
            security_options=tuple(info.get("SecurityOptions") or ()),
            name=str(info.get("Name", "")),
            root_dir=str(info.get("DockerRootDir", "")),
            runtime=next(runc, ""),
            runtimes=tuple(sorted(info.get("Runtimes") or ())),
        )
