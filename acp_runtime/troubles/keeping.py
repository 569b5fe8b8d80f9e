"""What goes wrong where things are kept and asked for: the store and the daemon."""

from typing import Final

from acp_runtime.troubles.trouble import Area, Trouble

# fmt: off
STORE: Final = Area(
    "The store",
    "Told to whoever asked; nothing of the call was kept.",
    (
        Trouble("store_owned", "another process owns this store",
            "a daemon runs, or another program has opened it; the sentence names it",
            "use `Runtime.connect`, or end the other one"),
        Trouble("other_launcher", "open subagents run in another way: in containers, or as local processes",
            "`--unsafe-local` was given before and is not now, or the other way round",
            "start the daemon as before and stop them first, or use another store"),
        Trouble("store_too_new", "the store was written by a newer version", "an older program meets it",
            "use the newer version, or another store"),
        Trouble("disk_full", "the store's disk has too little room: nothing new is started, and what runs waits with "
            "what it has to store", "logs, exported work, or somebody else's files; `subagents df` shows what is ours",
            "make room, with `subagents prune` while there is a little left; all goes on by itself then"),
        Trouble("store_error", "the log could not be read or written", "a folder that is not writable, or a disk "
            "that fails", "as the sentence says"),
        Trouble("store_conflict", "what was to be stored contradicts what is stored", "a bug of ours",
            "report it with the log"),
        Trouble("illegal_transition", "an event met a state that does not know it", "a bug of ours", "report it"),
    ),
)
DAEMON: Final = Area(
    "The daemon",
    "Told by the command line and by `Runtime.connect`.",
    (
        Trouble("daemon_unreachable", "no daemon answers, and none was to be started", "it does not run",
            "`subagents serve`"),
        Trouble("daemon_not_started", "the daemon could not be started", "what it said is in the sentence",
            "`subagents serve --foreground` shows more"),
        Trouble("daemon_lost",
            "the daemon went away, or stopped answering, before it had answered: the outcome is unknown",
            "it was killed, or replaced", "look at the status before you ask again"),
        Trouble("socket_unsafe", "the daemon's socket or its folder could be somebody else's",
            "its folder is open to others, or another user listens there",
            "`chmod 700` the folder, or set `XDG_RUNTIME_DIR`"),
        Trouble("other_store", "the daemon that runs keeps another store than the one that is meant",
            "two XDG_STATE_HOMEs with one XDG_RUNTIME_DIR", "give each of them an XDG_RUNTIME_DIR of its own"),
        Trouble("version_mismatch", "the daemon is of another version", "the package was changed while it ran",
            "`subagents serve --replace`: running agents go on"),
        Trouble("timeout", "the request was not done in time", "a busy machine", "look at the status, then ask again"),
        Trouble("internal_error", "something that nobody foresaw", "a bug of ours",
            "report it with the end of the daemon's log"),
    ),
)
# fmt: on
