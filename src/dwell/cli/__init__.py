"""The command line: one module per group of commands. Nothing heavier than click is loaded before a command runs."""

from dwell.cli.program import main

__all__ = ["main"]
