"""The board: one row for each model on each data set."""
