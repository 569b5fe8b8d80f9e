"""`python -m tests.faults.storm SEED COUNT [option...]`: one storm, its case in build/, its verdict."""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from tests.docker.closure import closure_image
from tests.faults.storm.driver import ROOT, Storm
from tests.faults.storm.own_engine import OwnEngine, own_engine
from tests.faults.storm.plan import WEIGHTS
from tests.faults.storm.site import StormSite


def given(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for; a mistake in it ends the program with 2 before anything is begun."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.storm",
        description="One storm of faults and its verdict; what it left is in build/storm-SEED.",
        epilog="victims: " + ", ".join(WEIGHTS),
    )
    parser.add_argument("seed", type=int, help="the same seed draws the same faults")
    parser.add_argument("count", type=int, help="how many faults")
    parser.add_argument("--own", action="store_true", help="give the storm an engine of its own, which is ended too")
    parser.add_argument("--live", action="store_true", help="the same, and containers outlive that engine")
    parser.add_argument(
        "--exec", action="store_true", help="have the daemon reach its agents over execs, as where no socket is shared"
    )
    parser.add_argument("--only", type=victims, metavar="NAME,...", help="have only these victims")
    parser.add_argument("--plain", action="store_true", help="expect no agent to outlive its manager")
    parser.add_argument(
        "--tree", type=Path, default=ROOT, metavar="FOLDER", help="have the program of another work tree go through it"
    )
    return parser.parse_args(words)


def victims(text: str) -> frozenset[str]:
    names = frozenset(text.split(","))
    if unknown := names.difference(WEIGHTS):
        raise argparse.ArgumentTypeError(f"no such victim: {', '.join(sorted(unknown))}")
    return names


def main() -> int:
    terms = given()
    image = closure_image()
    with own_engine(image, live_restore=terms.live) if terms.own or terms.live else nullcontext() as engine:
        return storm(terms, image, engine)


def storm(terms: argparse.Namespace, image: str, engine: OwnEngine | None) -> int:
    case = ROOT / "build" / f"storm-{terms.seed}"
    shutil.rmtree(case, ignore_errors=True)
    root = Path(tempfile.mkdtemp(prefix="storm-"))
    without = frozenset(WEIGHTS).difference(terms.only or WEIGHTS)
    site = StormSite(root, image=image, sockets="exec" if terms.exec else "auto", tree=terms.tree)
    began = time.perf_counter()
    try:
        one = Storm(site, terms.seed, terms.count, engine=engine, without=without)
        verdict = one.play(case, held=not terms.plain)
    finally:
        site.close()
        site.remove_all()
        shutil.rmtree(root)
    for name, wrong in verdict["found"].items():
        print(f"{len(wrong):6}  {name}", *wrong[:20], sep="\n        ! ")
    print(json.dumps(verdict["figures"], indent=1), "missed:", verdict["missed"], "points:", verdict["points"])
    print(f"seed {terms.seed}, {terms.count} faults, {time.perf_counter() - began:.0f} s, case {case}")
    return 0 if verdict["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
