"""See it learn."""

from __future__ import annotations

import click

__all__ = ["demo"]


@click.command()
def demo() -> int:
    """See it learn."""
    from dwell.demo.run import DemoOptions, run_demo

    return run_demo(DemoOptions(), out=click.echo)
