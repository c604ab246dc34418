"""The records that only the leaderboard declares: measured, verified, and what is said about the rows of the paper."""
