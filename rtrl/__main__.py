"""`python -m rtrl`."""

import sys

from rtrl.cli import main

if __name__ == "__main__":
    sys.exit(main())
