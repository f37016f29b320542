"""The program `dwell`: its commands, and what every failure looks like from outside."""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Mapping, Sequence
from typing import Final

import click

from dwell import __version__
from dwell.cli.activation import activation
from dwell.cli.archive import archive
from dwell.cli.cluster import cluster
from dwell.cli.demo import demo
from dwell.cli.doctor import db, doctor
from dwell.cli.exporting import export
from dwell.cli.health import health
from dwell.cli.import_logs import log_commands
from dwell.cli.import_scores import scores
from dwell.cli.importing import importing
from dwell.cli.inspection import inspect
from dwell.cli.keeping import erase
from dwell.cli.keys import keys
from dwell.cli.learning import evaluate, train
from dwell.cli.mcp import mcp
from dwell.cli.params import history, params
from dwell.cli.printing import complain, examples
from dwell.cli.serving import serve
from dwell.cli.settings import config
from dwell.cli.transitions import promote, rollback
from dwell.errors import DwellError

__all__ = ["main", "program"]

DEBUG_VARIABLE: Final = "DWELL_DEBUG"
# What to do, by error code, where the library's own words name its arguments and methods
_REMEDIES: Final[Mapping[str, str]] = {
    "promotion_refused": "Collect more evidence, or repeat it with --force, which the ledger records.",
    "unknown_version": "See `dwell history` for the versions there are.",
    "nothing_to_roll_back": "See `dwell history` for what was live; where features changed since, `dwell promote` a "
    "version of the registered ones.",
    "already_live": "Nothing is to be done: `dwell history` says when and why it went live.",
}
_PEPPER_OF_FILE: Final = "Restore the file <store>.pepper beside the store, or set DWELL_PEPPER to its text."
# The same where one code has several, by what a program in Python is told
_PHRASES: Final[Mapping[str, str]] = {
    "Restore the file beside the store, or give its text as pepper= or DWELL_PEPPER.": _PEPPER_OF_FILE,
    "Give the one it was made with: pepper=, DWELL_PEPPER, or the file beside the store.": _PEPPER_OF_FILE,
    "Give the one it was made with, as pepper= or DWELL_PEPPER:": "Set DWELL_PEPPER to the one it was made with:",
    "Give the same one in every process: pepper=, or DWELL_PEPPER;": "Set DWELL_PEPPER, the same in every process;",
    "Name them all, or retire some with drop_features=[...].": "Name them all with --features, or leave it out to take "
    "those of the store; a program retires some by dwell.open(..., drop_features=[...]).",
    "Leave weights out:": "Leave store.weights out:",
    "use Loop.promote.": "use `dwell promote`, or POST /v1/promote where they are no stored version.",
    "Declare others through rewards=.": "Declare others with --rewards, or as store.rewards.",
}
# What the optional packages are installed with, by the name that is imported
_EXTRAS: Final = dict.fromkeys(
    ("starlette", "uvicorn", "httptools", "itsdangerous", "limits", "jinja2", "prometheus_client"), "server"
)
DONE: Final = 0
FAILED: Final = 1
WRONG_USAGE: Final = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dwell")
@examples(
    "dwell demo                        see it learn",
    "dwell serve search.dwell --no-auth   the loop behind HTTP",
    "dwell inspect search.dwell        what is in the file",
    "dwell health search.dwell         how it is, in figures",
    "dwell doctor search.dwell         is it learning, and if not, why",
    "dwell rollback search.dwell       back to the params before",
)
def program() -> None:
    """Retrieval that learns from what happened after it answered.

    STORE is the file that dwell.open made, or postgresql://user@host/database; without it, demo.dwell in the current
    folder is taken, if it is there.
    Looking never disturbs a process that has the store open. Exit code 0: done; 1: refused or failed, with one line
    that says why; 2: wrong usage.
    """


for _command in (
    demo,
    serve,
    inspect,
    params,
    history,
    health,
    doctor,
    train,
    evaluate,
    promote,
    rollback,
    erase,
    export,
    archive,
    activation,
    cluster,
    importing,
    keys,
    mcp,
    config,
    db,
):
    program.add_command(_command)
for _command in (*log_commands(), scores):
    importing.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 refused or failed, 2 wrong usage.

    Args:
        arguments: The words after `dwell`; those of this process when not given.
    """
    try:
        return _run(None if arguments is None else list(arguments))
    except click.UsageError as error:
        _show_usage(error)
        return WRONG_USAGE
    except Exception as error:  # noqa: BLE001 - the last resort: people get a line, the traceback is theirs to ask for
        if os.environ.get(DEBUG_VARIABLE, "") not in {"", "0"}:
            traceback.print_exception(error)
        complain(_words(error))
        return FAILED


def _show_usage(error: click.UsageError) -> None:
    words = error.format_message()
    if "postgres" in words:  # it may quote a URL that stood in the wrong place, with its password
        from dwell.storage.places import without_passwords

        error = click.UsageError(without_passwords(words), error.ctx)
    error.show()


def _run(arguments: list[str] | None) -> int:
    code = program.main(arguments, prog_name="dwell", standalone_mode=False)
    return code if isinstance(code, int) else DONE


def _words(error: Exception) -> str:
    """Return what happened and what to do about it, for one line."""
    if isinstance(error, DwellError):
        told = copy.copy(error)
        told.hint = _REMEDIES.get(error.code, error.hint)
        for theirs, ours in _PHRASES.items():
            told.hint = told.hint.replace(theirs, ours)
        return str(told)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _EXTRAS:
        package = (error.name or "").partition(".")[0]
        return f'the package {package} is not installed. Install it: pip install "dwell[{_EXTRAS[package]}]"'
    if isinstance(error, click.Abort):
        return "stopped before the end."
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError):
        name = "" if error.filename is None else f" {str(error.filename)!r}"
        return f"{error.strerror or error}:{name} can not be used. Check the path and its permissions."
    return f"unexpected {type(error).__name__}: {error}. Set {DEBUG_VARIABLE}=1 to see the traceback."
