"""How well an engine can keep a sandbox, and what the configuration gives up of it: for the doctor."""

from collections.abc import Iterator, Mapping

from acp_runtime.cli.escapes import open_escapes
from acp_runtime.cli.finding import Finding, Mark
from acp_runtime.egress.registry import Registry
from acp_runtime.presets import Preset
from sandbox.engine_facts import EngineFacts
from sandbox.programs import ARCHITECTURES


def about_engine(facts: EngineFacts) -> Iterator[Finding]:
    """Say what the engine is, which known holes its version has, and what it lacks beside what every engine has."""
    about = f"Docker {facts.version}, {facts.architecture}, cgroup v{facts.cgroup_version}, runc {facts.runtime or '?'}"
    yield Finding(Mark.GOOD, "engine", about)
    if facts.architecture not in ARCHITECTURES:
        yield Finding(Mark.BAD, "architecture", f"there are no programs of ours for {facts.architecture}")
    for what, program, version in (("runtime", "runc", facts.runtime), ("dockerd", "Docker", facts.version)):
        if holes := open_escapes(program, version):
            sentence = f"{program} {version} has known holes unless its distribution mended them: {', '.join(holes)}"
            yield Finding(Mark.WARN, what, f"{sentence}; upgrade it, or look at the package's changelog")
    yield _isolation({each.partition(",")[0].removeprefix("name=") for each in facts.security_options})


def _isolation(options: set[str]) -> Finding:
    if "seccomp" not in options:
        return Finding(Mark.BAD, "isolation", "the engine filters no system calls: use one with seccomp")
    modules = [name for key, name in (("apparmor", "AppArmor"), ("selinux", "SELinux")) if key in options]
    rootless, mapped = "rootless" in options, "userns" in options
    told = ["seccomp", *modules, *(["user namespaces"] if mapped else []), *(["rootless"] if rootless else [])]
    lacks = [] if modules else ["AppArmor or SELinux"]
    if not (mapped or rootless):
        lacks.append("user namespaces (the root of a container is that of its machine)")
    without = f"; without {', and without '.join(lacks)}" if lacks else ""
    advice = "" if modules else ". Every sandbox has the filter; what is lacking would be a second fence behind it"
    return Finding(Mark.GOOD if modules else Mark.WARN, "isolation", f"{', '.join(told)}{without}{advice}")


def about_presets(presets: Mapping[str, Preset], facts: EngineFacts | None) -> Iterator[Finding]:
    """Name the presets that weaken a sandbox, and the runtimes that the engine does not have."""
    for preset in presets.values():
        if preset.unsafe:
            yield Finding(Mark.WARN, "preset", f"{preset.name} weakens its sandboxes: {', '.join(preset.unsafe)}")
    wanted = sorted({preset.confinement.runtime for preset in presets.values()} - {""})
    for runtime in wanted if facts is not None else ():
        if facts is not None and runtime not in facts.runtimes:
            has = ", ".join(facts.runtimes)
            yield Finding(Mark.BAD, "runtime", f"the engine has no {runtime}, which is configured; it has: {has}")


def about_registries(registries: Mapping[str, Registry]) -> Iterator[Finding]:
    """Name the package registries that may be without TLS or on a private network."""
    for name, registry in registries.items():
        if registry.private:
            where = ", ".join(sorted({str(place.address) for place in registry.places}))
            yield Finding(Mark.WARN, "registry", f"{name} is unsafe_private: sandboxes that are given it reach {where}")
