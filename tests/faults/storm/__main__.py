"""`python -m tests.faults.storm SEED COUNT [option...]`: one storm, its case in build/, its verdict.

--own, --live    give the storm an engine of its own, which is ended too; with --live containers outlive that
--exec           have the daemon reach its agents over execs, as where no socket is shared
--only=NAME,...  have only these victims
--plain          expect no agent to outlive its manager
--tree=FOLDER    have the program of another work tree go through it
"""

import json
import shutil
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from tests.docker.closure import closure_image
from tests.faults.storm.driver import ROOT, Storm
from tests.faults.storm.own_engine import OwnEngine, own_engine
from tests.faults.storm.plan import WEIGHTS
from tests.faults.storm.site import StormSite


def main(seed: int, count: int, words: list[str]) -> int:
    image = closure_image()
    own = {"--own", "--live"} & set(words)
    with own_engine(image, live_restore="--live" in words) if own else nullcontext() as engine:
        return storm(seed, count, image, engine, words)


def storm(seed: int, count: int, image: str, engine: OwnEngine | None, words: list[str]) -> int:
    case = ROOT / "build" / f"storm-{seed}"
    shutil.rmtree(case, ignore_errors=True)
    root = Path(tempfile.mkdtemp(prefix="storm-"))
    trees = [Path(each) for each in given("--tree=", words)]
    only = {name for each in given("--only=", words) for name in each.split(",")}
    without = frozenset(WEIGHTS).difference(only) if only else frozenset()
    sockets = "exec" if "--exec" in words else "auto"
    site = StormSite(root, image=image, sockets=sockets, tree=next(iter(trees), ROOT))
    began = time.perf_counter()
    try:
        verdict = Storm(site, seed, count, engine=engine, without=without).play(case, held="--plain" not in words)
    finally:
        site.close()
        site.remove_all()
        shutil.rmtree(root)
    for name, wrong in verdict["found"].items():
        print(f"{len(wrong):6}  {name}", *wrong[:20], sep="\n        ! ")
    print(json.dumps(verdict["figures"], indent=1), "missed:", verdict["missed"], "points:", verdict["points"])
    print(f"seed {seed}, {count} faults, {time.perf_counter() - began:.0f} s, case {case}")
    return 0 if verdict["good"] else 1


def given(option: str, words: list[str]) -> list[str]:
    return [word.removeprefix(option) for word in words if word.startswith(option)]


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if not word.startswith("--")]
    sys.exit(main(*numbers, [word for word in sys.argv if word.startswith("--")]))
