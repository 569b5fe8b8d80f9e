"""What the doctor says of the keys that the configuration names: by the name of the source, never by its value."""

import json
import os
from pathlib import Path

import pytest

from acp_runtime.cli.finding import Mark
from acp_runtime.cli.keys_found import about_keys
from acp_runtime.config import UsualModel

KEY = "sk-canary-4711"
ENVIRON = {"PATH": os.environ["PATH"], "MODEL_KEY": KEY, "EMPTY_KEY": ""}

ROWS = [
    ("env:MODEL_KEY", Mark.GOOD, "mine: env:MODEL_KEY is there; the daemon has the variables of whoever started it"),
    ("env:OTHER_KEY", Mark.WARN, "env:OTHER_KEY is not in the environment; set the environment variable OTHER_KEY"),
    ("env:EMPTY_KEY", Mark.WARN, "env:EMPTY_KEY is empty"),
    ("file:~/key", Mark.GOOD, "mine: file:{home}/key is there"),
    ("file:~/other", Mark.WARN, "file:{home}/other is not there; make the file, mode 0600"),
    ("file:~/open", Mark.WARN, "file:{home}/open is open to others (mode 0644)"),
    ("command:cat {home}/key", Mark.GOOD, "mine: command:cat is there"),
    ("command:cat {home}/other", Mark.WARN, "command:cat: its program ended with code 1"),
    ("keychain:canary-no-such-service", Mark.WARN, "keychain:canary-no-such-service: its program "),
    ("login:claude", Mark.WARN, "mine: login:claude: not logged in"),
]


@pytest.mark.requirement("D10.11")
@pytest.mark.parametrize(("key", "mark", "said"), ROWS)
async def test_whether_the_key_of_a_configured_model_is_there_is_told_by_the_name_of_its_source(
    key: str, mark: Mark, said: str, tmp_path: Path
) -> None:
    for name, mode in (("key", 0o600), ("open", 0o644)):
        (tmp_path / name).write_text(KEY)
        (tmp_path / name).chmod(mode)
    environ = {**ENVIRON, "HOME": str(tmp_path)}
    model = UsualModel("m", "http://127.0.0.1:1", key.format(home=tmp_path))
    (found,) = await about_keys({"mine": model, "keyless": UsualModel("m", "http://127.0.0.1:1")}, environ)
    assert (found.mark, found.what) == (mark, "key")
    assert said.format(home=tmp_path) in found.sentence
    assert KEY not in found.sentence


async def test_a_login_that_is_about_to_expire_is_told_and_not_renewed(tmp_path: Path) -> None:
    path = tmp_path / ".claude" / ".credentials.json"
    path.parent.mkdir()
    path.touch(0o600)
    own = {"accessToken": "sk-canary", "refreshToken": "r", "expiresAt": 1, "subscriptionType": "max"}
    path.write_text(json.dumps({"claudeAiOauth": own}))
    before = path.read_bytes()
    (found,) = await about_keys(
        {"mine": UsualModel("m", "http://127.0.0.1:1", "login:claude@http://127.0.0.1:1/")}, {"HOME": str(tmp_path)}
    )
    assert (found.mark, found.sentence) == (Mark.GOOD, "mine: login:claude: there")
    assert path.read_bytes() == before
