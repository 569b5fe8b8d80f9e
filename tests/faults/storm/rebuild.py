"""All that a program makes of the log of a store, made again of the log alone, by that program."""

import sqlite3
from contextlib import closing

from acp_runtime.store.rebuild import rebuild


def main(path: str) -> None:
    """Do so in a store that is a copy, and nobody's."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.row_factory = sqlite3.Row
        rebuild(connection)
