"""mgnet-verify."""
