"""Which layers train, from when, and how fast."""
