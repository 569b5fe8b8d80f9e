"""Any folder, any change to it: host → pack → sandbox → edit → patch → `git apply` gives what the agent had."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.workspace import Guest, LocalRunner, WorkspaceLimits, bring_in, take_out, take_snapshot
from tests.integration.workspace.conftest import contents

NAMES = st.sampled_from(
    [b"a", b"b", b"A", b"-n", b"x y", b'"q"', b"new\nline", b"\xff", "é".encode(), b"back\\slash", b"git~2"]
)
LINES = st.lists(st.sampled_from([b"one\n", b"two\n", b"two\r\n", b"\n", b"$Id$\n", b"no end", b"\r"]), max_size=8)
TEXT = LINES.map(b"".join)
CONTENT = TEXT | st.binary(max_size=40) | st.sampled_from([bytes(range(250, 256)) * 3, b"line\n" * 30])
FILE = st.tuples(st.just("file"), st.booleans(), CONTENT)
LINK = st.tuples(st.just("link"), st.sampled_from(["a", "../a", "/etc/passwd", "x y/b", "nowhere"]))
TREE = st.dictionaries(
    NAMES,
    st.recursive(FILE | LINK, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=8),
    max_size=5,
)
ATTRIBUTES = st.sampled_from([b"", b"* text=auto\n", b"* eol=crlf\n", b"* -diff\n", b"a binary\n"])


def write(tree, folder):
    """Make a folder hold exactly a tree, its `.git` apart."""
    for entry in folder.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    fill(tree, folder)


def fill(tree, folder):
    for name, entry in tree.items():
        path = folder / os.fsdecode(name)
        if isinstance(entry, dict):
            path.mkdir()
            fill(entry, path)
        elif entry[0] == "link":
            path.symlink_to(entry[1])
        else:
            path.write_bytes(entry[2])
            path.chmod(0o755 if entry[1] else 0o644)


def mixed(before, after, moved):
    """The later tree with some of the earlier one's files, unchanged or at another place."""
    kept = {name: entry for name, entry in before.items() if name not in after}
    return {**after, **kept} if moved else after


@pytest.mark.timeout(400)
@given(committed=TREE, before=TREE, after=TREE, moved=st.booleans(), history=st.booleans(), attributes=ATTRIBUTES)
@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
async def test_what_the_agent_leaves_is_what_the_host_has_after_applying(
    *, committed, before, after, moved, history, attributes
):
    with tempfile.TemporaryDirectory() as place:
        host, base, work, scratch = (Path(place, name) for name in ("host", "base", "work", "scratch"))
        for folder in (host, base, work, scratch):
            folder.mkdir()
        environ = {"PATH": os.environ["PATH"], "HOME": place, "GIT_CONFIG_NOSYSTEM": "1"}

        def git(*arguments, stdin=b""):
            argv = ["git", "-c", "user.name=user", "-c", "user.email=user@localhost", *arguments]
            done = subprocess.run(
                argv, cwd=host, env=environ, input=stdin, capture_output=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr

        if history:
            git("init", "-q")
            write(committed, host)
            git("add", "-A")
            git("commit", "-q", "--allow-empty", "-m", "committed")
        write(before, host)
        if attributes:
            (host / ".gitattributes").write_bytes(attributes)
        snapshot = await take_snapshot(host, scratch, environ=environ)
        assert (snapshot.head is not None) == history
        guest = Guest(LocalRunner(environ["PATH"]), WorkspaceLimits(), base=str(base), work=str(work))
        await bring_in(guest, snapshot)
        assert contents(work) == contents(host)
        write(mixed(before, after, moved), work)
        taken = await take_out(guest)
        if b"eol" in attributes:
            environ["GIT_DIR"] = "/dev/null"  # else git writes new files with the line ends that the host asked for
        if taken.patch:
            git("apply", stdin=taken.patch)
        assert contents(host) == contents(work)
