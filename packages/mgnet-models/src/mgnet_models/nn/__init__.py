"""Layers and the classifier that all networks share."""
