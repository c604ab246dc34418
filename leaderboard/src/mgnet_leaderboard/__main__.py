"""`python -m mgnet_leaderboard`, the same as the command mgnet-leaderboard."""

import sys

from mgnet_leaderboard.cli import main

if __name__ == "__main__":
    sys.exit(main())
