"""A user's machine in a container: a configuration with the scripted agent, and a repository. It does nothing.

python -m tests.docker.contained_site IMAGE     says "ready" once all is there
"""

import json
import os
import signal
import sys
from pathlib import Path

from tests.contract.conftest import SCRIPT, make_repo
from tests.docker.contained import PLACE, tell

argv = json.dumps(["python3", "-c", SCRIPT.read_text(encoding="utf-8")])
config = f'[sandbox]\nimage = "{sys.argv[1]}"\n\n[agents.scripted]\nargv = {argv}\n'
Path(os.environ["SUBAGENTS_CONFIG"]).write_text(config, encoding="utf-8")
make_repo(Path(PLACE) / "repo")
tell("ready")
signal.pause()
