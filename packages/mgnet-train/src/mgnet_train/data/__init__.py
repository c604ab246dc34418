"""Data sets: what is known of them, their readers, and how they reach the device."""
