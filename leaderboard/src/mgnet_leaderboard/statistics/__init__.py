"""Intervals, significance tests, the comparisons of the paper, and studies; arithmetic on records, no files and no pages."""
