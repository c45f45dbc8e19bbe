"""``python -m stb_core.cli`` is ``stb``."""

from stb_core.cli.program import main

main()
