"""mgnet-models."""
