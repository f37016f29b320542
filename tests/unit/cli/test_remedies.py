"""Every command that a sentence of ours tells somebody to type can be typed."""

import re
import shlex
from importlib.resources import files
from pathlib import Path

import click
import pytest

from dwell.cli.program import program

SAID = re.compile(r"`dwell ([a-z]+(?: [a-z-]+)* STORE[^`\"\n\\]*)`")
COMMANDS = sorted(
    {found for path in Path(str(files("dwell"))).rglob("*") if path.suffix in {".py", ".html"}
     for found in SAID.findall(path.read_text())}
)  # fmt: skip


def parsed(command: str) -> None:
    """Parse a command as the shell would hand it over, and run nothing.

    Raises:
        click.UsageError: It is none.
    """
    here: click.Command = program
    words = shlex.split(command)
    while isinstance(here, click.Group):
        name = words.pop(0)
        with click.Context(here) as context:
            found = here.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no such command: {name}")
        here = found
    here.make_context(name, words)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_one_is_told_to_type_is_a_command(command: str) -> None:
    parsed(command)


@pytest.mark.parametrize("command", ["erase STORE USER", "db mend STORE", "inspect STORE --nothing"])
def test_what_can_not_be_typed_is_found(command: str) -> None:
    with pytest.raises(click.UsageError):
        parsed(command)
