"""Lines that scroll, and below them, on a terminal, how far it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TextIO

__all__ = ["Screen", "screen_on"]


class Screen(NamedTuple):
    """Where the demo shows itself.

    Attributes:
        say: Prints a line.
        show: Sets how far it is, in searches, and what is being done.
        is_terminal: Whether somebody looks on.
    """

    say: Callable[[str], None]
    show: Callable[[int, str], None]
    is_terminal: bool


@contextmanager
def screen_on(out: TextIO, total: int) -> Iterator[Screen]:
    """Yield a screen: with a progress bar on a terminal that has `rich`, plain lines anywhere else.

    Args:
        out: Where to.
        total: Searches in all.
    """
    encoding = getattr(out, "encoding", None) or "utf-8"

    def plain(line: str) -> None:
        # what the terminal can not show is escaped instead of failing
        out.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        out.flush()

    if not out.isatty():
        yield Screen(plain, lambda _done, _words: None, is_terminal=False)
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        yield Screen(plain, lambda _done, _words: None, is_terminal=True)
        return
    console = Console(file=out, highlight=False, markup=False, emoji=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("", total=total)

        def say(line: str) -> None:
            console.print(line.encode(encoding, "backslashreplace").decode(encoding), soft_wrap=True)

        yield Screen(say, lambda done, words: bar.update(task, completed=done, description=words), is_terminal=True)
