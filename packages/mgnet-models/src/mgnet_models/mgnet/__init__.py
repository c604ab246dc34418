"""MgNet as the paper has it: the grid, the transfer between grids, the stem, Algorithm 2 and the duality."""
