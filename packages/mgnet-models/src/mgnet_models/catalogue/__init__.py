"""What exists: names, data sets, the rows of the tables of the paper, counts."""
