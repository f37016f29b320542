"""The demo's screen draws a bar on a terminal."""

import io

from dwell.demo.progress import screen_on


class Terminal(io.StringIO):
    """What says that it is one."""

    def isatty(self) -> bool:
        """Return True."""
        return True


out = Terminal()
with screen_on(out, 10) as screen:
    screen.show(5, "half of it")
assert "half of it" in out.getvalue()
print("a bar of rich")
