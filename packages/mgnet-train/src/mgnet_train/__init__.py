"""mgnet-train."""
