"""What cannot be used is told in a sentence, with exit code 2, before anything starts."""

import os
import socket

import pytest

from tests.e2e.stage import Stage

KEY = "sk-canary-0123456789"
# Files are open to root whatever their mode; without these rights they are not.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.getuid() == 0 else []
AGENT = '[agents.x]\nargv = ["x"]\n'


def refused(stage: Stage, *options: str, env: dict[str, str] | None = None, local: bool = True, **changes: str) -> str:
    """Return what is said; nothing may have been started, or left."""
    done = stage.run(*options, local=local, env=env, **changes)
    assert done.code == 2, done.err
    assert done.out == b""
    assert "Traceback" not in done.err
    assert "UNSAFE" not in done.err, "the agent was about to start"
    assert not stage.runs.exists() or not list(stage.runs.iterdir())
    return done.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "the following arguments are required: task"),
        (("",), "task is required."),
        (("fix", "the", "bug"), "the task is one argument; put it in quotes"),
        (("x", "--nonsense=1"), "unknown option --nonsense"),
        (("x", "--outp", "json"), "subagents run: unknown option --outp; did you mean --out?"),
        (("x", "--output", "xml"), "invalid choice: xml (choose from patch, text, json)"),
        (("x", "--permissions", "maybe"), "choose from allow, deny"),
        (("x", "--timeout", "soon"), "invalid float value: 'soon'"),
        (("x", "--timeout", "0"), "--timeout is 0; it must be a number of seconds above 0"),
        (("x", "--timeout=-5"), "--timeout is -5; it must be"),
        (("x", "--timeout", "nan"), "--timeout is nan; it must be"),
        (("x", "--check-timeout", "inf"), "--check-timeout is inf; it must be"),
        (("x", "--timeout", "1e9"), "at most 31536000 (a year)"),
        (("x", "--check", " "), "--check is empty"),
        (("x", "--image", "closure"), "--image and --unsafe-local exclude each other"),
        (("x", "--memory", "64"), "--memory and --unsafe-local exclude each other"),
        (("x", "--runtime", "runsc"), "--runtime and --unsafe-local exclude each other"),
        (("x", "--pids", "many"), "argument --pids: invalid int value: 'many'"),
        (("x", "--budget-tokens", "5"), "--budget-tokens and --unsafe-local exclude each other"),
        (("x", "--budget-cost", "0"), "--budget-cost and --unsafe-local exclude each other"),
        (("x", "--model", "a b"), "--model 'a b' is not a name"),
        (("x", "--model-url", "ftp://host/v1"), "--model-url: The model's base URL is not of the form http://"),
        (("x", "--model-url", "http://u:secret@host/v1"), "holds a user name or password"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_told(stage: Stage, options: tuple[str, ...], words: str):
    said = refused(stage, *options)
    # Up to Python 3.11 the choices stand in quotes.
    assert words in said.replace("'", "") if "choose from" in words else words in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"agent": "opencod"}, "agent kind: opencod. Known kinds: claude, "),
        ({"agent": ""}, "--agent '' is not a name"),
        ({"agent": "\x1b[31mscripted"}, "--agent 'scripted' is not a name; allowed are small letters, digits"),
        ({"agent": "a\nb"}, "is not a name"),
        ({"agent": "a" * 5000}, "is not a name"),
        ({"workspace": "/nonexistent/folder"}, "the workspace /nonexistent/folder does not exist"),
        ({"workspace": "/etc/passwd"}, "is not a folder"),
        ({"workspace": ""}, "--workspace is empty"),
        ({"workspace": "/tmp/\x1b]0;owned\x07"}, "--workspace '/tmp/' holds a control character"),
        ({"workspace": "a" * 5000}, "the workspace aaa"),
        ({"config": "/nonexistent.toml"}, "the configuration /nonexistent.toml cannot be read: No such file"),
        ({"config": "/etc"}, "the configuration /etc cannot be read: Is a directory"),
        ({"config": ""}, "--config is empty"),
    ],
)
def test_a_name_that_cannot_be_used_is_told(stage: Stage, changes: dict[str, str], words: str):
    said = refused(stage, "x", **changes)
    assert words in said
    assert "\x1b" not in said
    assert len(said) < 1000


def test_an_image_that_is_no_name_is_told_before_the_engine_is_asked(stage: Stage):
    said = refused(stage, "x", "--image", "a\x1b[31mb", local=False, env={"DOCKER_HOST": "unix:///nonexistent"})
    assert "--image 'ab' is not a name; allowed are letters, digits and ._:@/+-" in said


MISTAKES = """\
[limits]
sandbox = -1
initialize = 0
authenticate = nan
session = inf
task = "10"
request = true
queue = 1.5
taks = 3

[sandbox]
image = ""

[unknown]

[agents."Big Name"]
argv = ["x"]

[agents.a]
argv = []

[agents.b]
argv = ["b\\u0000c"]
env = {A = 1, "B=C" = "1", D = "\\u0000"}

[agents.c]
argv = [""]
needs_model = "yes"

[agents.d]
"""
TOLD = """\
:2: limits.sandbox: input should be greater than 0 (it is -1)
:3: limits.initialize: input should be greater than 0 (it is 0)
:4: limits.authenticate: input should be less than or equal to 31536000 (it is nan)
:5: limits.session: input should be less than or equal to 31536000 (it is inf)
:6: limits.task: input should be a valid number (it is '10')
:7: limits.request: input should be a valid number (it is True)
:8: limits.queue: input should be a valid integer
:9: limits.taks: unknown key; allowed: authenticate, backoff, cancel_grace, idle, initialize
:12: sandbox.image: string should have at least 1 character (it is '')
:14: unknown: unknown key; allowed: admission, agents, budget, ceiling, daemon
:16: agents.Big Name: string should match pattern '^[a-z0-9][a-z0-9._-]{0,39}$' (it is 'Big Name')
:20: agents.a.argv: list should have at least 1 item
:23: agents.b.argv.0: a NUL character cannot be passed to a program; remove it
:24: agents.b.env.A: input should be a valid string (it is 1)
:24: agents.b.env.B=C: string should match pattern
:24: agents.b.env.D: a NUL character cannot be passed to a program; remove it
:27: agents.c.argv: the first word is empty; name the program
:28: agents.c.needs_model: input should be a valid boolean (it is 'yes')
:30: agents.d.argv: field required
"""


def test_every_mistake_of_a_configuration_is_told_with_file_line_key_and_what_is_allowed(stage: Stage):
    stage.config.write_text(MISTAKES)
    said = refused(stage, "x")
    assert [line for line in TOLD.splitlines() if f"{stage.config}{line}" not in said] == [], said
    assert len(said.splitlines()) == len(TOLD.splitlines())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[limits]\ntask = = 3\n", ": not valid TOML: Invalid value (at line 2, column 8)"),
        ("limits = 3\n", ":1: limits: input should be a valid"),
    ],
)
def test_a_configuration_of_another_shape_is_told(stage: Stage, text: str, words: str):
    stage.config.write_text(text)
    assert f"{stage.config}{words}" in refused(stage, "x")


def test_a_configuration_that_is_no_text_is_told(stage: Stage):
    stage.config.write_bytes(b"[limits]\n\xff\xfe")
    assert "is not UTF-8 text (byte 9)" in refused(stage, "x")


def test_the_configuration_is_found_where_it_is_usually_or_by_the_variable(stage: Stage):
    usual = stage.root / "home" / ".config" / "acp-subagents" / "config.toml"
    usual.parent.mkdir(parents=True)
    for place, env in ((usual, {}), (stage.root / "named.toml", {"SUBAGENTS_CONFIG": str(stage.root / "named.toml")})):
        place.write_text("[limits]\nmistake = 1\n")
        done = stage.popen([str(stage.command), "run", "x"], env=env).end()
        assert (done.code, f"{place}:2: limits.mistake" in done.err) == (2, True), done.err


@pytest.mark.parametrize("given", [KEY, f"env:{KEY}", "sk_canary_0123456789", "env:sk_canary_0123456789", "", "A=B"])
def test_a_key_in_place_of_its_source_is_refused_and_never_repeated(stage: Stage, given: str):
    said = refused(stage, "x", "--model-url", "http://127.0.0.1:1/v1", "--model-key", given)
    assert "never the key itself" in said
    assert "canary" not in said


@pytest.mark.parametrize("given", ["env:UNSET_VARIABLE", "env:EMPTY_VARIABLE", "file:/nonexistent/key"])
def test_a_source_without_a_key_is_named(stage: Stage, given: str):
    url = ("--model-url", "http://127.0.0.1:1/v1")
    said = refused(stage, "x", *url, "--model-key", given, env={"EMPTY_VARIABLE": ""})
    assert f"--model-key: The model's key {given} is" in said


@pytest.mark.parametrize("value", [f"{KEY}\nand a second line", f"{KEY}\u00e9", KEY * 1000])
def test_a_key_that_cannot_be_sent_is_refused_and_not_repeated(stage: Stage, value: str):
    url = ("--model-url", "http://127.0.0.1:1/v1")
    said = refused(stage, "x", *url, "--model-key", "env:MODEL_KEY", env={"MODEL_KEY": value})
    assert "cannot be sent in a header" in said
    assert "canary" not in said


@pytest.mark.parametrize("option", ["--the-key", "--api-key"])
def test_an_option_that_does_not_exist_does_not_repeat_its_value(stage: Stage, option: str):
    assert "canary" not in refused(stage, "x", f"{option}={KEY}")


def test_a_key_without_an_address_is_refused(stage: Stage):
    said = refused(stage, "x", "--model-key", "env:MODEL_KEY", env={"MODEL_KEY": KEY})
    assert "--model-key needs --model-url" in said


@pytest.mark.parametrize("options", [(), ("--model", "m")])
def test_opencode_without_a_model_is_told_what_to_give(stage: Stage, options: tuple[str, ...]):
    env = {"DOCKER_HOST": "unix:///nonexistent"}
    said = refused(stage, "x", *options, agent="opencode", local=False, env=env)
    assert said.startswith("subagents run: opencode needs a model: give --model NAME and --model-url URL, or set it in")


def test_the_kind_and_the_model_that_are_configured_are_those_of_a_run_that_names_none(stage: Stage):
    kind = 'default_agent = "codex"\n'
    model = '[models.codex]\nname = "m"\nurl = "http://h/v1"\nkey = "env:NOT"\n'
    missing = "models.codex.key: The model's key env:NOT is not in the environment"
    for text, words in ((kind, "codex needs a model"), (kind + model, missing)):
        stage.config.write_text(text)
        done = stage.popen([str(stage.command), "run", "x"], env={"SUBAGENTS_CONFIG": str(stage.config)}).end()
        assert (done.code, words in done.err) == (2, True), done.err


def test_a_verb_whose_daemon_cannot_be_started_for_a_mistake_in_the_configuration_says_so(stage: Stage):
    stage.config.write_text("[limits]\nmistake = 1\n")
    done = stage.popen([str(stage.command), "ps"], env={"SUBAGENTS_CONFIG": str(stage.config)}).end()
    assert (done.code, done.out) == (2, b"")
    assert f"the daemon could not be started: {stage.config}:2: limits.mistake: unknown key" in done.err


def test_a_state_folder_that_cannot_be_made_is_told(stage: Stage):
    said = refused(stage, "x", env={"XDG_STATE_HOME": "/proc/nothing"})
    assert "no folder can be made in /proc/nothing/acp-subagents/runs" in said
    assert "set XDG_STATE_HOME" in said


def test_no_verb_shows_the_help(stage: Stage):
    done = stage.popen([str(stage.command)]).end()
    assert (done.code, done.out) == (2, b"")
    assert "usage: subagents" in done.err


class TestEngine:
    """An engine that cannot be used: exit code 69, with the remedy."""

    @pytest.mark.parametrize(
        ("host", "words"),
        [
            ("unix:///nonexistent/docker.sock", "that socket does not exist; install or start Docker"),
            ("tcp://127.0.0.1:1", "nothing listens on it; start it"),
            ("ssh://me@host", "forward its socket with `ssh -nNT -L"),
            ("nonsense", "DOCKER_HOST"),
        ],
    )
    def test_an_engine_that_is_not_there_is_told_with_the_remedy(self, stage: Stage, host: str, words: str):
        done = stage.run("x", local=False, env={"DOCKER_HOST": host})
        assert (done.code, words in done.err) == (69, True), done.err
        assert done.out == b""

    def test_an_engine_that_this_user_may_not_use_is_told(self, stage: Stage):
        with socket.socket(socket.AF_UNIX) as engine:
            engine.bind(str(stage.root / "engine.sock"))
            engine.listen()
            (stage.root / "engine.sock").chmod(0)
            argv = [*UNPRIVILEGED, *stage.arguments("x", local=False)]
            done = stage.popen(argv, env={"DOCKER_HOST": f"unix://{stage.root}/engine.sock"}).end()
        assert done.code == 69, done.err
        assert "this user may not open it" in done.err


def test_a_home_that_cannot_be_read_is_told(stage: Stage):
    home = stage.root / "home"
    home.chmod(0)
    done = stage.popen([*UNPRIVILEGED, str(stage.command), "run", "--unsafe-local", "x"]).end()
    home.chmod(0o700)
    assert done.code == 2, done.err
    assert f"the configuration {home}/.config/acp-subagents/config.toml cannot be looked for" in done.err


def test_a_workspace_that_cannot_be_looked_at_is_told(stage: Stage):
    home = stage.root / "home"
    home.chmod(0)
    done = stage.popen([*UNPRIVILEGED, *stage.arguments("x", workspace=str(home / "project"))]).end()
    home.chmod(0o700)
    assert done.code == 2, done.err
    assert f"the workspace {home}/project cannot be used: Permission denied" in done.err
