"""``python -m dfer_edge`` is the command ``dfer-edge``."""

import sys

from dfer_edge.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
