"""`python -m mgnet_verify` is the command mgnet-verify."""

import sys

from mgnet_verify.cli import main

if __name__ == "__main__":
    sys.exit(main())
