"""The leaderboard of MgNet Lab: reported, verified and measured evidence, kept apart, on one static site."""

from importlib.metadata import version

__version__ = version("mgnet-leaderboard")
