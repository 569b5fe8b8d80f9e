"""A person without a parent is told by a command: each nudge once it worked, again when it did not."""

import json
import os
import select
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.daemon_site import BOUND, DaemonSite, daemon_site

# Fails the first time, then says what it got.
COMMAND = """
import os, sys
said = sys.stdin.read()
if not os.path.exists(sys.argv[1] + ".failed"):
    open(sys.argv[1] + ".failed", "w").close()
    sys.exit(1)
with open(sys.argv[1], "w") as pipe:
    pipe.write(said)
"""


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonSite]:
    with daemon_site(tmp_path_factory.mktemp("n", numbered=True)) as site:
        yield site


def next_line(pipe: int) -> dict[str, object]:
    said = b""
    while not said.endswith(b"\n"):
        assert select.select([pipe], [], [], BOUND)[0], "nobody was told"
        said += os.read(pipe, 1)  # and nothing of the next line, which may be there already
    found: dict[str, object] = json.loads(said)
    return found


def spawned(site: DaemonSite, *more: str) -> str:
    done = site.run("spawn", "--agent", "scripted", "--workspace", str(site.workspace), "-q", *more, "[[say:done]]")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_command_gets_each_nudge_of_the_operator_and_a_failed_one_again(site: DaemonSite) -> None:
    script, path = site.root / "tell.py", site.root / "told"
    script.write_text(COMMAND)
    os.mkfifo(path)
    # Held open for writing too: an end of the command is then no end of the pipe.
    pipe = os.open(path, os.O_RDWR)
    command = json.dumps(f"{sys.executable} {script} {path}")
    site.config.write_text(f"on_nudge = {command}\n" + site.config.read_text())
    try:
        site.serve()
        spawned(site, "--parent", "somebody")
        first = spawned(site)
        site.run("wait", first)
        second = spawned(site)
        told = [next_line(pipe), next_line(pipe)]
        assert {each["subagent"] for each in told} == {first, second}
        assert {each["kind"] for each in told} == {"completed"}
    finally:
        os.close(pipe)
