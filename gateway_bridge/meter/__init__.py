"""One meter: what to ask it, what it said, and whether to believe it."""
