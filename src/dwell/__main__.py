"""`python -m dwell`: the command line, where no script of it is on the path."""

import sys

from dwell.cli import main

if __name__ == "__main__":
    sys.exit(main())
