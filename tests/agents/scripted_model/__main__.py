"""Run the scripted model until SIGTERM or SIGINT: prints one line that says where it listens."""

import argparse
import signal
from pathlib import Path

from . import ScriptedModel


def main() -> None:
    """Serve on a loopback port or on a unix socket."""
    parser = argparse.ArgumentParser(
        prog="scripted_model", description="A model server whose answers are in the prompt."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--port", type=int, default=0, help="loopback port; 0 (the default) takes a free one")
    where.add_argument("--unix", type=Path, help="path of a unix socket")
    given = parser.parse_args()
    ending = {signal.SIGTERM, signal.SIGINT}
    # Blocked before any thread starts, so that the signal waits for sigwait() and reaches no handler of a thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    with ScriptedModel(port=given.port, unix=given.unix) as model:
        print(f"listening on {f'unix:{model.unix}' if model.unix else model.base_url}", flush=True)
        signal.sigwait(ending)


if __name__ == "__main__":
    main()
