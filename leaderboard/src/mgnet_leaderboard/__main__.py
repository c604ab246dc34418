"""`python -m mgnet_leaderboard`, the same as the command mgnet-leaderboard."""

import sys

from mgnet_leaderboard.cli import main

sys.exit(main())
