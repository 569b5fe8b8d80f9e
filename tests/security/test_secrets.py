"""Where a key must not be found: the search for it finds each form, and a process that has one leaves no core dump."""

import base64
import os
import resource
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.security.canary import KEY, forms, places_of

WITH_A_KEY = "from acp_runtime.keys.secret import Secret; kept = Secret('sk-in-memory', name='KEY')"
# Its renewal is asked for at an address where nobody answers, and fails: no secret was ever made of the token.
WITH_A_LOGIN = """
import asyncio, json, pathlib, shutil, tempfile
from acp_runtime.keys import key_source
home = tempfile.mkdtemp()
login = pathlib.Path(home, ".claude", ".credentials.json")
login.parent.mkdir()
login.touch(0o600)
login.write_text(json.dumps({"claudeAiOauth": {"accessToken": "a", "refreshToken": "canary", "expiresAt": 1}}))
try:
    asyncio.run(key_source("login:claude@http://127.0.0.1:9/", {"HOME": home}).read())
except Exception as error:
    kept = error
shutil.rmtree(home)
"""
ALLOW = "import resource as r; _, most = r.getrlimit(r.RLIMIT_CORE); r.setrlimit(r.RLIMIT_CORE, (most, most))"
CRASH = "import os, resource; print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True); os.abort()"


@pytest.mark.requirement("T8")
@pytest.mark.parametrize(
    "hidden",
    [
        f"Authorization: Bearer {KEY}\n".encode(),
        *(base64.b64encode(b"x" * n + KEY.encode() + b"yz") for n in range(3)),
        *(base64.urlsafe_b64encode(b"x" * n + KEY.encode()) for n in range(3)),
        base64.encodebytes(b"x" * 70 + KEY.encode()),
        f"key={KEY}".encode().hex().encode(),
        f"key={KEY}".encode().hex().upper().encode(),
        f"key={quote(KEY, safe='')}&x=1".encode(),
        f"key={KEY};".encode()[::-1],
        f'{{"key": "{KEY}"}}'.encode("utf-16"),
        f'{{"key": "{KEY}"}}'.encode("utf-16-be"),
    ],
    ids=range(14),
)
def test_the_search_finds_a_key_in_every_form(hidden: bytes) -> None:
    assert places_of({"somewhere": b"before" + hidden + b"after"}) != []
    assert places_of({"somewhere": b"before" + hidden + b"after"}, KEY[::-1].upper()) == []
    assert all(len(form) > 12 for form in forms().values()), "a short form is found anywhere"


def crashed(code: str, folder: Path) -> tuple[int, bool]:
    """Run code that crashes where dumps are allowed; return its limit for them at the end and whether it dumped."""
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", f"{ALLOW}\n{code}"], cwd=folder, env={"PYTHONPATH": root}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        limit = int(process.stdout.read())
    _, status = os.waitpid(process.pid, 0)
    process.returncode = status
    return limit, os.WCOREDUMP(status)


@pytest.mark.requirement("T8")
@pytest.mark.parametrize("having", [WITH_A_KEY, WITH_A_LOGIN], ids=["a key", "a login that is being renewed"])
def test_a_process_that_has_a_key_leaves_no_core_dump(tmp_path: Path, having: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit, dumped = crashed(CRASH, tmp_path)
    assert limit == hard
    if hard and not Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
        assert dumped, "the control: without a key there is one"
    for left in tmp_path.iterdir():
        left.unlink()
    limit, dumped = crashed(f"{having}\n{CRASH}", tmp_path)
    assert (limit, dumped) == (min(1, hard) if hard >= 0 else 1, False)
    assert list(tmp_path.iterdir()) == []
