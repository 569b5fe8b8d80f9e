"""What a person hears of ended subagents that neither a prune nor a removal takes."""

from pathlib import Path
from subprocess import CompletedProcess

from acp_runtime.cli.codes import Exit
from tests.e2e.daemon_site import DaemonSite, daemon_site


def ask(site: DaemonSite, *argv: str, code: Exit = Exit.DONE) -> CompletedProcess[str]:
    done = site.run(*argv)
    assert done.returncode == code, done.stderr
    return done


def test_a_prune_says_that_ended_ones_stay_and_a_removal_whose_they_are(tmp_path: Path) -> None:
    with daemon_site(tmp_path) as site:
        site.serve()
        words = ("--agent", "scripted", "--workspace", str(site.workspace), "--parent", "it's away")
        untold = ask(site, "spawn", "-q", *words, "[[say:x]]").stdout.strip()
        ask(site, "wait", untold)
        ask(site, "stop", untold)
        pruned = ask(site, "prune", "--older-than", "0")
        assert pruned.stdout == ""
        assert "1 stay: too young, not exported, or of a parent that was not told (subagents nudges)" in pruned.stderr
        assert """(--parent "it's away")""" in ask(site, "rm", untold, code=Exit.FAILED).stderr
        ask(site, "rm", "--parent", "it's away", untold)
        assert "stay" not in ask(site, "prune", "--older-than", "0").stderr
