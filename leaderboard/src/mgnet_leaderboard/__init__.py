"""mgnet-leaderboard."""
