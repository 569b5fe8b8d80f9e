"""What stands behind `subagents acp` is a command, a conductor's chain, or an agent in a sandbox: never two of them."""

import pytest

from acp_runtime.cli.codes import Exit
from acp_runtime.cli.main import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--agent", "opencode", "--", "opencode", "acp"), "--agent and a command exclude each other"),
        (("--workspace", "/tmp", "--", "cat"), "--workspace is for an agent in a sandbox: name it with --agent"),
        (("--model-key", "env:KEY"), "--model-key is for an agent in a sandbox"),
        (("--agent", "nobody"), "nobody"),
        (("--agent", "opencode"), "opencode needs a model"),
        (("--agent", "opencode", "--workspace", ""), "--workspace is empty"),
    ],
)
def test_what_does_not_go_together_is_told(
    words: tuple[str, ...], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["acp", *words]) == Exit.USAGE
    assert said in capfd.readouterr().err
