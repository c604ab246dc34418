"""`python -m mgnet_train` is the command `mgnet-train`."""

import sys

from mgnet_train.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
