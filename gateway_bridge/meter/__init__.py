"""One meter: what to read, what it answered, and whether that is plausible."""
