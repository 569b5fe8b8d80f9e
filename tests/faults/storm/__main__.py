"""`python -m tests.faults.storm SEED COUNT [--held]`: one storm, its verdict, and its case in build/storm-SEED."""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.docker.closure import closure_image
from tests.faults.storm.driver import ROOT, Storm
from tests.faults.storm.site import StormSite


def main(seed: int, count: int, *, held: bool) -> int:
    case = ROOT / "build" / f"storm-{seed}"
    shutil.rmtree(case, ignore_errors=True)
    root = Path(tempfile.mkdtemp(prefix="storm-"))
    site = StormSite(root, image=closure_image())
    began = time.perf_counter()
    try:
        verdict = Storm(site, seed, count).play(case, held=held)
    finally:
        site.close()
        site.remove_all()
        shutil.rmtree(root)
    for name, wrong in verdict["found"].items():
        print(f"{len(wrong):6}  {name}", *wrong[:20], sep="\n        ! ")
    print(json.dumps(verdict["figures"], indent=1), "missed:", verdict["missed"])
    print(f"seed {seed}, {count} faults, {time.perf_counter() - began:.0f} s, case {case}")
    return 0 if verdict["good"] else 1


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if not word.startswith("--")]
    sys.exit(main(*numbers, held="--held" in sys.argv))
