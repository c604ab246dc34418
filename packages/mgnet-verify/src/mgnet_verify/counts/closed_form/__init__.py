"""Counts by arithmetic from a notation or a layer list. No network is built."""
