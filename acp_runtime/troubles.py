"""What can go wrong, in one table: each kind of error with what it means, why it comes, and what to do.

`docs/troubleshooting.md` is made from it. A test reads the sources: every kind that they can raise or return has its
row, and every row a place from which it comes.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of error. `meaning` is what happened, `cause` why, `remedy` what to do next."""

    kind: str
    meaning: str
    cause: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Area:
    """What belongs together. `where` says how its kinds reach a reader."""

    title: str
    where: str
    rows: tuple[Trouble, ...]


# fmt: off
_ASKING: Final = Area(
    "What was asked for cannot be done",
    "Told to whoever asked, over every door. Nothing was changed or started.",
    (
        Trouble("invalid", "something that was given cannot be used",
            "a task, message or purpose is blank or holds a NUL, a folder is not there or outside of the "
            "workspace, a parameter is of the wrong type", "the sentence names the value; correct it and ask again"),
        Trouble("unknown_subagent", "there is no subagent of that id or name for this caller",
            "a wrong id, one whose log was deleted, or one that belongs to another parent: they are answered alike",
            "look at `list`; a host whose session got a new id has to register it as an alias"),
        Trouble("ambiguous", "several subagents are meant by that name or beginning of an id",
            "the beginning is too short, or a name was drawn twice",
            "the candidates are in the answer; give more of the id"),
        Trouble("unknown_agent", "there is no agent kind of that name",
            "a wrong name, or a kind that this configuration does not have",
            "the known kinds are in the sentence; add yours under `[agents.NAME]`"),
        Trouble("unknown_preset", "there is no preset of that name",
            "a wrong name, or a preset that this configuration does not have",
            "the available ones are in the sentence; add yours under `[presets.NAME]`"),
        Trouble("no_work", "there is no exported work of that subagent",
            "it has not ended yet, or its work could not be exported and is kept in its volumes",
            "stop it first; `subagents show` says whether its work was exported"),
        Trouble("unknown_task", "there is no task of that id for this caller", "a wrong id",
            "look at the list of tasks"),
        Trouble("unknown_tool", "there is no tool of that name", "a host offers a tool that this version does not have",
            "the known tools are in the sentence"),
        Trouble("unknown_method", "the daemon has no method of that name",
            "a client of another version, or a wrong path", "use the client of the same version"),
        Trouble("unknown_turn", "a turn was to be acknowledged that was never begun, or that was deleted since",
            "a wrong token, or one of another store", "begin a turn; what was not acknowledged is told again"),
        Trouble("no_parent", "tools were called without a parent", "the host gave no session id",
            "call them for a parent"),
        Trouble("no_turns", "the operator was to take a turn",
            "only parents have turns; the operator reads and answers without consuming what parents are told",
            "name the parent"),
        Trouble("operator_only", "a parent asked for what only the operator may do",
            "the reaper acts on the engine for all parents", "ask as the operator, without `--parent`"),
        Trouble("not_removed", "what was kept of an ended subagent could not be removed; nothing was forgotten",
            "the engine cannot be reached, or did not confirm it", "try again when the engine answers"),
        Trouble("needs_operator", "a parent asked for what only the person at the terminal may decide",
            "an answer that holds for good, or a setting that weakens a sandbox",
            "ask for it once instead, or have the operator do it with `subagents`"),
        Trouble("disabled", "subagents, or one-shot ones, are switched off", "`enabled` or `one_shot.enabled` is false",
            "change it in the configuration; `subagents config show --origin` says where it was set"),
        Trouble("beyond_ceiling", "a preset or a permission is wider than parents are allowed",
            "the configured `ceiling` is narrower on the axes that the sentence names",
            "choose a narrower preset, or have the operator raise `ceiling`"),
        Trouble("override_refused", "a setting was given that this agent kind cannot honour",
            "for example a model's name for a kind that takes none", "leave it out, or choose another agent kind"),
        Trouble("limit_reached", "no further subagent is let in",
            "the caller has as many open ones as `admission` allows, or all parents together have",
            "stop one of those in the answer, wait for one to end, or raise the number"),
        Trouble("queue_full", "no further task is taken for this subagent", "`limits.queue` tasks wait already",
            "wait until it has worked some off, or cancel one"),
        Trouble("not_running", "the subagent, or its task, is not running", "it has ended, or ends just now",
            "look at its status; `resume` starts an ended one again where it was kept"),
        Trouble("task_over", "the task has ended already", "it came to its end before it was cancelled",
            "read its result"),
        Trouble("still_open", "this is done only with a subagent that has ended",
            "it is open: starting, idle, running or waiting", "stop it first, or send it a message"),
        Trouble("not_resumable", "the subagent cannot be started again",
            "it was started for one use, so nothing of it was kept",
            "spawn a new one, with `keep` if it is to be resumable"),
        Trouble("request_closed", "the question is not open any more",
            "it was answered, its deadline passed, or its task ended", "look at the status; nothing was answered"),
        Trouble("option_unknown", "the answer is none of those that were offered", "a wrong option id",
            "choose one of the options in the sentence"),
        Trouble("steering_unavailable", "the running task cannot be given a message",
            "the agent does not offer it, or is starting", "send it as a task of its own, which waits for its turn"),
        Trouble("not_injected", "the agent did not take the message into its running task",
            "its task ended before, or it said nothing in time; the sentence says which",
            "look at the status; send it as a task of its own if it still matters"),
        Trouble("not_acknowledged", "the subagent has something to tell that its parent has not seen",
            "somebody else than its parent wants to delete it", "let the parent take a turn first"),
        Trouble("not_dead", "the nudge is no dead letter, so it cannot be offered again",
            "it waits, is shown, or was acknowledged", "nothing needs to be done"),
        Trouble("alias_taken", "the name is that of another parent",
            "two sessions of hosts got one id, or an alias was given twice", "give the session's own id"),
        Trouble("already_exists", "a subagent of that id is there", "an id was drawn twice", "spawn again"),
        Trouble("too_large", "the request is too long", "its body has more than the sentence allows",
            "send less at a time"),
        Trouble("closing", "the manager is being closed", "it was told to end, or gives way to another",
            "ask again in a moment: the next one goes on where it was"),
    ),
)
_CONFIGURATION: Final = Area(
    "Configuration, keys and addresses",
    "Told before anything starts.",
    (
        Trouble("config_error", "the configuration cannot be used",
            "a mistake in the file or in a variable; each is told with its place, the key and what is allowed",
            "correct it; `subagents config check` looks again, [configuration.md](configuration.md) has every key"),
        Trouble("key_missing", "the variable that holds the model's key is not set, or empty",
            "it is set in another shell, or not for the daemon, which has the environment it was started in",
            "set it; for a running daemon then `subagents serve --replace`"),
        Trouble("key_malformed", "the model's key cannot be sent in a header",
            "it has several lines, or characters that no key has", "set the variable to the key alone"),
        Trouble("bad_model_url", "the model's address is none",
            "it is not `http(s)://host[:port]/path`, or holds a key",
            "give the base address of the API, as `https://host/v1`"),
    ),
)
_STARTING: Final = Area(
    "A start that failed",
    "In `error_kind` of the subagent's status, in its nudge, and in the exit code of `subagents run`.",
    (
        Trouble("start_failed", "the agent could not be started", "the sentence says what failed",
            "as the sentence says"),
        Trouble("start_timeout", "a step of the start was not done within its deadline",
            "a slow machine or network, or an agent that does not answer; the sentence names the step",
            "raise that step's number in `[limits]`"),
        Trouble("login_needed", "the agent wants somebody to log in first",
            "its kind has no `auth_method`, or its key or its model is not set",
            "give it its model and key, or name its login in `[agents.NAME]`"),
        Trouble("agent_exited", "the agent's process ended while an answer was awaited",
            "it crashed, or wants other arguments; its last words are in the sentence",
            "try its command in the image; look at `subagents logs --agent`"),
        Trouble("protocol_error", "the agent answered with an error, or not as ACP says",
            "a version that does not speak ACP 1, or a model that it cannot reach",
            "look at the sentence and at `subagents logs --agent`"),
        Trouble("manager_ended", "the start was cut off because the manager ended", "it was stopped, or killed",
            "spawn again, or resume where it was kept"),
    ),
)
_SANDBOX: Final = Area(
    "The container engine and sandboxes",
    "In `error_kind`, or told to whoever asked for a check.",
    (
        Trouble("engine_unreachable", "no container engine answers",
            "it is not installed, does not run, or `DOCKER_HOST` names another place",
            "start it; `subagents doctor` and `make engine` say more"),
        Trouble("engine_denied", "this user may not use the engine's socket", "the user is not in its group",
            "add the user to the group `docker` and log in again"),
        Trouble("engine_timeout", "the engine did not answer in time; whether it acted is unknown",
            "a busy or stuck engine", "look at its log; what was begun is cleaned up by name"),
        Trouble("engine_refused", "the engine turned a call down",
            "the sentence has its words: a setting that it does not know, a full disk", "as the sentence says"),
        Trouble("engine_error", "the engine failed in a way that has no name of its own", "see the sentence",
            "look at the engine's log"),
        Trouble("name_taken", "a container or volume of that name exists and is not ours", "somebody else made it",
            "remove or rename it; it was left alone"),
        Trouble("fenced", "a container or volume belongs to a later manager of the same store",
            "this manager was stopped or slept for so long that another one took its store over",
            "end the replaced one; what the later one owns was left alone"),
        Trouble("image_missing", "an image is neither here nor can it be had",
            "a wrong name, no network, or a registry that wants a login",
            "pull it by hand, or name another with `sandbox.image`"),
        Trouble("program_missing", "relay or holder, our programs inside containers, are not there",
            "the package was built without it, or for another architecture",
            "install the wheel again, or `make setup` in a checkout"),
        Trouble("holder_error", "the program that keeps an agent's streams refused something, or is not there",
            "the sentence has its reason: an older manager, a wrong token, a full disk, an agent that has ended",
            "as the sentence says; `docs/framing.md` has every reason by name"),
        Trouble("command_missing", "the agent's program cannot be executed",
            "it is not in the image, or not executable",
            "name an image that holds it, or another program in `[agents.NAME]`"),
        Trouble("cwd_missing", "the agent's folder is not in its workspace",
            "`cwd` names a folder that is not there, or one that git leaves out",
            "name a folder of the workspace, or leave `cwd` out"),
        Trouble("nothing_kept", "what the subagent had stored is gone, so it cannot be started again",
            "its volumes were removed, as by `docker volume prune`",
            "spawn a new one; its exported work is still there"),
        Trouble("mount_refused", "a folder of the host was not mounted",
            "it is not there, its target is part of the sandbox itself, or it holds the engine's socket; a local agent "
            "has no mounts", "the sentence says which; name another folder or target"),
        Trouble("command_timeout", "a command ran longer than its bound and was killed", "it hangs, or needs longer",
            "give it more time, as `--check-timeout`"),
        Trouble("sandbox_gone", "the container is not there or does not run",
            "somebody removed it, or the machine ran out of memory",
            "look at the cause in the status; spawn or resume"),
        Trouble("channel_closed", "the stream to the agent has ended", "its process or container ended",
            "see the status"),
        Trouble("channel_stalled", "the agent does not read what it is sent", "it hangs, or its container is paused",
            "stop it, and resume where it was kept"),
        Trouble("stream_corrupt", "what the engine sent on a stream is not its framing",
            "something between us and the engine changes bytes", "use the engine's own socket"),
        Trouble("setting_refused", "a sandbox was to be weaker than allowed",
            "a setting that would give the host away, or a size below the least",
            "correct the preset; what weakens has a name that begins with `unsafe_`"),
        Trouble("same_user", "the manager runs as the user that agents get in their sandboxes",
            "agents would own the manager's files and could signal it: the kernel compares the numbers of users alone",
            "run it as another user than 10001"),
        Trouble("relay_error", "the relay in the container cannot be attached to",
            "it has ended, or belongs to a later manager of the same store", "see the sentence; spawn again"),
        Trouble("runtime_dir", "the folder for sockets cannot be used", "it belongs to another user, or cannot be made",
            "set `XDG_RUNTIME_DIR` to a folder of yours with a short path"),
        Trouble("socket_refused", "a socket cannot be made", "its path is too long, or its folder cannot be written to",
            "set `XDG_RUNTIME_DIR` to a folder of yours with a short path"),
        Trouble("workspace_error", "the folder cannot be taken in, or the work cannot be taken out",
            "the sentence says which file and why",
            "as the sentence says; what could not be taken out stays in its volume"),
    ),
)
_MODEL: Final = Area(
    "The way to the model",
    "Answered to the agent's HTTP client in the container, and counted; an agent usually repeats the sentence.",
    (
        Trouble("upstream_unreachable", "the model's address cannot be reached", "no network, or a wrong address",
            "try the address from this machine"),
        Trouble("upstream_untrusted", "the model's certificate is not trusted",
            "an authority that this machine does not know", "add it to the machine's certificates"),
        Trouble("upstream_silent", "the model said nothing for too long", "an overloaded model",
            "try again, or another model"),
        Trouble("upstream_broken", "the model's answer broke off or is no HTTP", "a proxy, or an overloaded model",
            "try again"),
        Trouble("host_refused", "the agent asked for another host than its model's",
            "only the one configured address is carried", "nothing: the sandbox reaches nothing else"),
        Trouble("path_refused", "the agent asked for a path outside of the model's address",
            "only paths below it are carried", "give the right base address with `--model-url`"),
        Trouble("method_refused", "the agent used a method that no model's API has", "a strange client", "see its log"),
        Trouble("version_refused", "the agent did not speak HTTP/1.1", "a strange client", "see its log"),
        Trouble("bad_request", "the agent's request is not well-formed", "a strange client", "see its log"),
        Trouble("two_framings", "the agent's request has two lengths", "a client that smuggles", "see its log"),
        Trouble("head_too_large", "the head of the agent's request is too long", "too many headers", "see its log"),
        Trouble("body_too_large", "the agent's request is too long", "a very long context", "give it a smaller task"),
        Trouble("client_silent", "the agent's request stood still", "an agent that hangs", "see its log"),
        Trouble("too_many_connections", "the agent has too many connections open", "it does not close them",
            "see its log"),
    ),
)
_ENDED: Final = Area(
    "Why a subagent ended",
    "In `reason` of its status, and in its nudge where somebody else than the parent ended it.",
    (
        Trouble("finished", "its work was done", "its caller said so, or it was for one task", "nothing"),
        Trouble("stopped_by_parent", "its parent stopped it", "the parent's wish", "nothing"),
        Trouble("stopped_by_operator", "a person stopped it", "the operator's wish", "ask the person"),
        Trouble("idle_timeout", "it had nothing to do for too long", "`limits.idle`", "resume it, or raise the number"),
        Trouble("max_lifetime_exceeded", "it was there for too long", "`limits.lifetime`",
            "resume it, or raise the number"),
        Trouble("agent_died", "its process or container died, and no restart was left",
            "it crashed, ran out of memory, or was killed; the cause is in the sentence",
            "look at what it had done; a task under way has the outcome unknown; raise `limits.restarts`"),
        Trouble("channel_lost", "it went out of reach, and nobody could say what became of it",
            "the engine did not answer for `limits.lost_grace` seconds, or the program that keeps the agent's streams "
            "refused this manager: the sentence says why, as `token_refused` for a store whose key file is another one",
            "look at the engine, or put the `.key` file back that lay beside the store; a task under way has the "
            "outcome unknown"),
        Trouble("cancel_ignored", "it went on with a task that was cancelled, so it was ended",
            "the agent did not obey within `limits.cancel_grace`", "resume it where it was kept, or spawn a new one"),
        Trouble("manager_failed", "the manager itself failed at this subagent and gave it up",
            "a bug of the manager", "its log says how; report it, and resume the subagent where it was kept"),
    ),
)
_STORE: Final = Area(
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
_DAEMON: Final = Area(
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

AREAS: Final = (_ASKING, _CONFIGURATION, _STARTING, _SANDBOX, _MODEL, _ENDED, _STORE, _DAEMON)
TROUBLES: Final = {row.kind: row for area in AREAS for row in area.rows}
