"""`mgnet-verify diagnose` and `demo`: what a trained network does. Nothing here passes or fails."""
