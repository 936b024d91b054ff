"""``python -m groupconv`` is the command ``groupconv``."""

import sys

from groupconv.cli import main

if __name__ == "__main__":
    sys.exit(main())
