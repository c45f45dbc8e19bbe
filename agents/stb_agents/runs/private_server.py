"""A virtual API server for one run; it ends with the process that started it.

    python -m stb_agents.runs.private_server --dataset D --mode M

runs ``stb serve`` on a free port, and ends when its standard input ends: then no server is left behind,
even where the parent was killed by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from stb_core import cli


def main() -> None:
    """Serve until standard input ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cli.main(["serve", *sys.argv[1:], "--port", "0", "--json"])


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
