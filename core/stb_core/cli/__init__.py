"""The command ``stb``: its root, its conventions, and what every command prints with."""

from stb_core.cli.console import counted
from stb_core.cli.program import (
    Commands,
    current_settings,
    default_map,
    exit_with,
    find_commands,
    flag_name,
    json_option,
    load_commands,
    main,
    secret,
    stb,
    stb_command,
    timeout_option,
)
from stb_core.cli.subcommands import CommandRunner
