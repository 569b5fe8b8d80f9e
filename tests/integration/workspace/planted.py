"""Everything in a repository that git is known to execute; each planted command leaves a file with its own name."""

from pathlib import Path

HOOKS = ("pre-commit", "post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc", "post-commit")


class Traps:
    """Plants commands in a work tree and its `.git`; `sprung()` names those that ran."""

    def __init__(self, canaries):
        self._canaries = Path(canaries)
        self._canaries.mkdir(exist_ok=True)

    def sprung(self):
        return {path.name for path in self._canaries.iterdir()}

    def forget(self):
        for path in self._canaries.iterdir():
            path.unlink()

    def _script(self, folder, name):
        path = folder / f"trap-{name}"
        path.write_text(f"#!/bin/sh\necho ran > {self._canaries / name}\ncat\n")
        path.chmod(0o755)
        return path

    def _settings(self, work, script):
        """Each key of git's configuration that names a program, or leads to one."""
        return {
            "core.fsmonitor": script("fsmonitor"),
            "core.sshCommand": script("ssh"),
            "core.askPass": script("askpass"),
            "core.pager": script("pager"),
            "core.editor": script("editor"),
            "core.gitProxy": script("proxy"),
            "core.alternateRefsCommand": script("alternate-refs"),
            "core.untrackedCache": "true",
            "credential.helper": f"!{script('credential')}",
            "diff.external": script("external-diff"),
            "diff.trap.textconv": script("textconv"),
            "diff.trap.command": script("diff-command"),
            "filter.trap.clean": script("clean"),
            "filter.trap.smudge": script("smudge"),
            "filter.trap.required": "true",
            "gpg.program": script("gpg"),
            "commit.gpgSign": "true",
            "uploadpack.packObjectsHook": script("pack-objects"),
            "pack.packObjectsHook": script("pack-objects"),
            "remote.origin.url": f"ext::sh -c 'echo ran > {self._canaries / 'ext'}'",
            "remote.origin.promisor": "true",
            "remote.origin.partialCloneFilter": "blob:none",
            "protocol.ext.allow": "always",
            "alias.ls-files": f"!{script('alias')}",
            "submodule.recurse": "true",
            "submodule.inner.update": f"!{script('submodule')}",
            "include.path": "included",
            f"includeIf.gitdir:{work}/.path": "included",
        }

    def plant(self, work):
        directory = work / ".git"
        commands = directory / "commands"
        commands.mkdir(parents=True)

        def script(name):
            return self._script(commands, name)

        lines = []
        for key, value in self._settings(work, script).items():
            section, _, name = key.rpartition(".")
            top, _, rest = section.partition(".")
            header = f'[{top} "{rest}"]' if rest else f"[{top}]"
            lines.append(f'{header}\n\t{name} = "{value}"\n')
        with (directory / "config").open("a") as file:
            file.writelines(lines)
        (directory / "included").write_text(f'[core]\n\thooksPath = "{directory / "hooks"}"\n')
        (directory / "hooks").mkdir(exist_ok=True)
        for hook in HOOKS:
            self._script(directory / "hooks", f"hook-{hook}").replace(directory / "hooks" / hook)
        (work / ".gitattributes").write_text("* filter=trap diff=trap\n")
