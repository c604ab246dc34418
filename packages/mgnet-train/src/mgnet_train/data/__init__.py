"""From files on disk to batches on the device; nothing here knows a network."""
