"""The configuration: what is read from where, which place wins, and how mistakes are told."""

from pathlib import Path

import pytest

from acp_runtime.config import Config, ConfigError, load
from acp_runtime.config.reference import Key, all_keys
from acp_runtime.core.admission import Admission, Share
from acp_runtime.core.confinement import Confinement, Egress, Mount
from acp_runtime.core.model import Limits, Permissions
from acp_runtime.presets import Network


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def loaded(file: Path, text: str = "", **environ: str) -> Config:
    file.write_text(text)
    return load(file, {"HOME": str(file.parent), **environ})


def refused(file: Path, text: str = "", **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(file, text, **environ)
    return str(caught.value).replace(f"{file}", "FILE")


def test_without_a_file_everything_is_at_its_default(tmp_path: Path) -> None:
    config = load(None, {"HOME": str(tmp_path)})
    assert config.limits == Limits()
    assert config.admission == Admission(per_parent=8, total=16)
    assert (config.enabled, config.default_agent, config.default_preset) == (True, "opencode", "friendly")
    assert (config.daemon.idle_exit, config.daemon.lease) == (3600.0, 30.0)
    assert list(config.presets) == ["restricted", "friendly", "privileged"]
    assert config.origins == {}


def test_a_variable_is_stronger_than_the_file_and_the_file_than_the_default(file: Path) -> None:
    text = "[limits]\ntask = 10\nidle = 20\n"
    config = loaded(file, text, SUBAGENTS_LIMITS_TASK="30", SUBAGENTS_ENABLED="false", SUBAGENTS_DAEMON_LOG_FILES="7")
    assert (config.limits.task, config.limits.idle, config.limits.session) == (30.0, 20.0, 90.0)
    assert config.enabled is False
    assert config.daemon.log_files == 7
    assert config.origins == {
        "limits.task": "environment SUBAGENTS_LIMITS_TASK",
        "limits.idle": f"{file}:3",
        "enabled": "environment SUBAGENTS_ENABLED",
        "daemon.log_files": "environment SUBAGENTS_DAEMON_LOG_FILES",
    }


NEVER = [key for key in all_keys() if '"none"' in key.allowed and key.variable]


@pytest.mark.parametrize("key", NEVER, ids=lambda key: key.name)
def test_none_takes_a_deadline_away(file: Path, key: Key) -> None:
    table, name = key.path
    for config in (loaded(file, f'[{table}]\n{name} = "none"\n'), loaded(file, **{key.variable: "none"})):
        held = getattr(config, table)
        if isinstance(held, Share):
            held = held.budget if hasattr(held.budget, name) else held.extent
        assert getattr(held, name) is None


def test_none_is_no_value_of_any_other_number(file: Path) -> None:
    numbers = [key for key in all_keys() if key.allowed.startswith("number") and key.variable and key not in NEVER]
    numbers = [key for key in numbers if key.path[0] != "orchestration"]  # it warns, see test_orchestration.py
    assert len(numbers) > 20
    for key in numbers:
        assert f"{key.name}: input should be a valid" in refused(file, **{key.variable: "none"})


def test_a_variable_that_is_empty_counts_as_unset(file: Path) -> None:
    assert loaded(file, SUBAGENTS_LIMITS_TASK="").limits.task == 3600.0


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SUBAGENTS_LIMITS_TASK", "soon", "limits.task: input should be a valid number, unable to parse"),
        ("SUBAGENTS_LIMITS_QUEUE", "-1", "limits.queue: input should be greater than or equal to 0"),
        ("SUBAGENTS_ENABLED", "perhaps", "enabled: input should be a valid boolean"),
        ("SUBAGENTS_LIMITS_TAKS", "1", "unknown variable; allowed: SUBAGENTS_LIMITS_AUTHENTICATE, "),
    ],
)
def test_a_mistake_in_a_variable_is_told_with_its_name(file: Path, name: str, value: str, told: str) -> None:
    said = refused(file, **{name: value})
    assert said.startswith(f"environment {name}: ")
    assert told in said


def test_other_variables_with_our_prefix_are_not_ours_to_judge(file: Path) -> None:
    assert loaded(file, SUBAGENTS_TEST_STORE="x", SUBAGENTS_KEY="y").limits == Limits()


def test_a_command_for_a_person_is_split_like_a_shell_does(file: Path) -> None:
    assert loaded(file, "on_nudge = \"notify-send 'a subagent' x\"").on_nudge == ("notify-send", "a subagent", "x")
    assert "FILE:1: on_nudge: the quotes do not close" in refused(file, 'on_nudge = "say \'x"')
    assert "FILE:1: on_nudge: it is empty; name the program" in refused(file, 'on_nudge = " "')


def test_a_preset_of_the_users_starts_from_another(file: Path) -> None:
    config = loaded(
        file,
        '[presets.small]\nextends = "mine"\ncpus = 0.5\nnetwork = "none"\n'
        '[presets.mine]\nextends = "restricted"\nmemory = 512\npermissions = "deny"\n'
        'mounts = [{source = "/srv/data", target = "/data"}]\n',
    )
    small, mine = config.presets["small"], config.presets["mine"]
    assert mine.confinement == Confinement(512, 1.0, 256, 256, (Mount("/srv/data", "/data"),))
    assert (mine.network, mine.permissions) == (Network.MODEL, Permissions.DENY)
    assert small.confinement == Confinement(512, 0.5, 256, 256, (Mount("/srv/data", "/data"),))
    assert small.network is Network.NONE


def test_a_runtime_is_that_of_every_preset_that_names_no_other(file: Path) -> None:
    text = '[sandbox]\nruntime = "runsc"\n[presets.own]\nruntime = "runc"\nunsafe_seccomp = true\n[presets.usual]\n'
    presets = loaded(file, text).presets
    assert {name: preset.confinement.runtime for name, preset in presets.items()} == {
        "restricted": "runsc", "friendly": "runsc", "privileged": "runsc", "own": "runc", "usual": "runsc",
    }  # fmt: skip
    assert {name: preset.unsafe for name, preset in presets.items() if preset.unsafe} == {"own": ("unsafe_seccomp",)}


def test_what_a_preset_reaches_is_kept_in_one_form_and_extended_with_the_rest(file: Path) -> None:
    config = loaded(
        file,
        '[presets.web]\nnetwork = "egress"\negress = ["Example.ORG", "*.example.org:80"]\nregistries = ["pip"]\n'
        '[presets.more]\nextends = "web"\nregistries = ["npm"]\n'
        '[presets.less]\nextends = "web"\nnetwork = "model"\n'
        '[registries.pip]\nunsafe_private = true\naddresses = {index = "http://mirror.lan:8080/pypi/"}\n',
    )
    web, more, less = (config.presets[name] for name in ("web", "more", "less"))
    assert web.egress == Egress(("example.org:443", "*.example.org:80"), ("pip",))
    assert more.egress == Egress(("example.org:443", "*.example.org:80"), ("npm",))
    assert less.egress == Egress()
    pip = config.registries["pip"]
    assert (str(pip.places[0].address), pip.private) == ("http://mirror.lan:8080/pypi", True)
    assert not config.registries["npm"].private


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[sandbox]\nruntime = "/x"\n', "FILE:2: sandbox.runtime: "),
        ('[presets.a]\nextends = "b"\n', "FILE:2: presets.a.extends: 'b' is no preset; known: friendly, "),
        ('[presets.a]\nextends = "a"\n', "FILE:2: presets.a.extends: 'a' is itself, by way of others; known: "),
        (
            '[presets.a]\nextends = "b"\n[presets.b]\nextends = "a"\n',
            "FILE:2: presets.a.extends: 'b' is itself, by way of others; known: ",
        ),
        (
            '[presets.a]\nnetwork = "internet"\n',
            "FILE:2: presets.a.network: input should be 'none', 'model' or 'egress' (it is 'internet')",
        ),
        (
            '[presets.a]\nnetwork = "egress"\negress = ["*"]\n',
            "FILE:3: presets.a.egress: the egress rule '*' allows everything; name hosts, or *.DOMAIN.",
        ),
        (
            '[presets.a]\nnetwork = "egress"\negress = ["10.0.0.1:80"]\n',
            "FILE:3: presets.a.egress: the egress rule '10.0.0.1:80' can never match: it is an address",
        ),
        (
            '[presets.a]\negress = ["example.org"]\n',
            "FILE:2: presets.a: egress: its network is 'model', so none of it can ever be reached; set network to",
        ),
        (
            '[presets.a]\nnetwork = "none"\nregistries = ["pip"]\n',
            "FILE:2: presets.a: registries: its network is 'none', so none of it can ever be reached; set network to",
        ),
        (
            '[presets.a]\nnetwork = "egress"\nregistries = ["gems"]\n',
            "FILE:2: presets.a.registries: there is no 'gems'; known: pip, npm, apt, cargo, go",
        ),
        ("[registries.gems]\nunsafe_private = true\n", "FILE:2: registries.gems: there is none of that name; known: "),
        (
            '[registries.pip]\naddresses = {index = "http://mirror.example.org"}\n',
            "FILE:2: registries.pip.addresses: The registry's address 'http://mirror.example.org' is without TLS",
        ),
        (
            "[presets.a]\nunsafe_root = true\n",
            "FILE:2: presets.a.unsafe_root: unknown key; allowed: about, budget_",
        ),
        ('[presets.a]\nmounts = [{source = "x", target = "/x"}]\n', "FILE:2: presets.a.mounts.0.source: it must be an"),
        ('default_agent = "nobody"\n', "FILE:1: default_agent: there is no 'nobody'; known: "),
        ('ceiling = "sky"\n', "FILE:1: ceiling: there is no 'sky'; known: friendly, privileged, restricted"),
        ('[one_shot]\noutput_dir = "../out"\n', "FILE:2: one_shot.output_dir: it must be a folder below the workspace"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_line(file: Path, text: str, told: str) -> None:
    assert told in refused(file, text)


def test_a_file_that_everybody_may_change_is_refused_and_one_of_a_group_is_not(file: Path) -> None:
    file.touch()
    file.chmod(0o664)
    assert loaded(file, "enabled = false\n").enabled is False
    file.chmod(0o666)
    assert refused(file, "enabled = false\n").startswith(
        "the configuration FILE cannot be read: everybody may change it (mode 0666); look at what is in it, and chmod"
    )


def test_the_headers_of_an_agent_kind_are_read_as_they_come_over_the_wire(file: Path) -> None:
    config = loaded(file, '[agents.mine]\nargv = ["mine"]\nmodel_headers = ["X-Tenant"]\n')
    assert config.catalogue.kind("mine").model_headers == ["x-tenant"]


@pytest.mark.requirement("T8")
@pytest.mark.parametrize(
    "name", ["Authorization", "X-Api-Key", "cookie", "host", "x-forwarded-host", "connection", "a b", ""]
)
def test_a_header_that_names_who_asks_or_where_it_goes_is_not_carried_for_an_agent_kind_either(
    file: Path, name: str
) -> None:
    assert "is no header's name" in refused(file, f'[agents.mine]\nargv = ["mine"]\nmodel_headers = ["{name}"]\n')


@pytest.mark.parametrize(
    ("text", "key"),
    [('ceiling = "restricted"', "ceiling"), ('ceiling = "friendly"\ndefault_preset = "privileged"', "default_preset")],
)
def test_a_default_preset_that_no_parent_would_get_is_refused(file: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf":{text.count(chr(10)) + 1}: {key}: the preset '.*' goes beyond"):
        loaded(file, text)
