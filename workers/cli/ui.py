"""`dreamarena ui`: the pages, in a browser."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from workers.cli.session import Answer, Session


@dataclass(frozen=True)
class Ui:
    """Open the leaderboard and the rollouts of this home (DREAMARENA_HOME) in a browser."""

    port: int = 8501
    host: str = "127.0.0.1"
    """0.0.0.0 serves other machines too."""
    home: Path | None = None
    """Another home than the environment's, e.g. out/demo/store."""
    json: bool = False
    """Print JSON and nothing else on stdout."""

    def run(self, session: Session) -> Answer:
        from arena.contracts import InvalidInput

        # By name only: workers know no page.
        spec = find_spec("ui")
        if find_spec("streamlit") is None or spec is None or spec.origin is None:
            raise InvalidInput("the pages need streamlit: pip install 'dreamarena[ui]'")
        if not 0 < self.port < 65536:
            raise InvalidInput(f"--port must be 1 to 65535, not {self.port}")
        app = Path(spec.origin).with_name("server.py")
        options = ["--server.port", str(self.port), "--server.address", self.host]
        quiet = ["--server.headless", "true", "--browser.gatherUsageStats", "false", "--client.toolbarMode", "viewer"]
        environment = dict(os.environ)
        if self.home is not None:
            environment["DREAMARENA_HOME"] = str(self.home.resolve())
        session.say(f"dreamarena at http://{self.host}:{self.port} (Ctrl-C ends it)")
        command = [sys.executable, "-m", "streamlit", "run", str(app), *options, *quiet]
        session.close()
        # The server takes this process's place, so that a signal to the command ends the server.
        os.execve(sys.executable, command, environment)
