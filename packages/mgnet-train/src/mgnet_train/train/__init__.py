"""Training itself: one step, the loop over epochs, metrics, optimizer, precision, processes. No files are written here."""
