"""The door of the host set-up: `python -I hostsetup_main.py python-env | engine VERB`, standard library only.

Promises: output is line by line on stderr, one sentence a step and said before a slow one; a failure is one
paragraph with its remedy and exit code 1 (69 when it is the engine that cannot be had); an interrupt ends with 130.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from hostsetup import engine, python_env
from hostsetup.talk import Stop, say

DOORS = {"python-env": python_env.main, "engine": engine.main}


def main(argv: list[str]) -> int:
    if not argv or argv[0] not in DOORS:
        say(f"usage: hostsetup_main.py {' | '.join(DOORS)}")
        return 2
    try:
        return DOORS[argv[0]](argv[1:])
    except Stop as stop:
        say(str(stop))
        return stop.code
    except KeyboardInterrupt:
        say("Interrupted; the next run takes up what is unfinished.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
