"""Runs that were killed, taken up by the next one: here with agents that are local processes."""

from acp_runtime.cli.dead_runs import take_up_dead_runs
from acp_runtime.service import Runtime
from tests.integration.api.conftest import BOUND, PARENT, Site, site

__all__ = ["site"]


async def test_work_of_a_dead_run_that_cannot_be_kept_now_waits_for_a_later_run(site: Site) -> None:
    config, said = site.config, []
    folder = config.state_dir / "runs" / "run-x"
    folder.mkdir(parents=True)
    async with Runtime.open(folder / "store.db", launcher=site.launcher(), config=config) as runtime:
        view = await runtime.spawn(PARENT, site.request("[[write:half.txt|half]]"))
        await runtime.wait(PARENT, (view.id,), seconds=BOUND)
    in_the_way = config.state_dir / "patches"
    in_the_way.touch()
    await take_up_dead_runs(config, site.launcher, parent=PARENT, say=said.append)
    assert folder.exists()
    in_the_way.unlink()
    await take_up_dead_runs(config, site.launcher, parent=PARENT, say=said.append)
    [patch] = in_the_way.iterdir()
    assert "half.txt" in patch.read_text()
    assert (str(patch) in said[-1], folder.exists()) == (True, False)
