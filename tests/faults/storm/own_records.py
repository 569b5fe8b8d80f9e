"""What real agents write down themselves of the turns that they finished, in their homes: a witness of its own.

codex keeps a file of lines for each session, opencode a database. Of both only what says that an answer was finished
counts; what they say to their manager is nothing of it.
"""

import json
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO

CODEX, OPENCODE = ".codex/sessions", ".local/share/opencode"
RECORDS = (CODEX, OPENCODE)
DATABASE = "opencode.db"
FINISHED = """
SELECT group_concat(json_extract(part.data, '$.text'), '') FROM message JOIN part ON part.message_id = message.id
WHERE json_extract(message.data, '$.role') = 'assistant' AND json_extract(message.data, '$.finish') = 'stop'
AND json_extract(message.data, '$.time.completed') IS NOT NULL AND json_extract(part.data, '$.type') = 'text'
GROUP BY message.id
"""


def finished(archive: IO[bytes]) -> list[str]:
    """Return the answers that an agent finished, as the tar of one of its `RECORDS` has them."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=archive) as tar:
        tar.extractall(folder, filter="data")
        found = [text for file in Path(folder).rglob("*.jsonl") for text in of_codex(file)]
        return found + [text for file in Path(folder).rglob(DATABASE) for text in of_opencode(file)]


def of_codex(file: Path) -> Iterator[str]:
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n") and (told := json.loads(line)["payload"]).get("type") == "task_complete":
            yield told.get("last_agent_message") or ""


def of_opencode(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as connection:
        return [text for (text,) in connection.execute(FINISHED)]
