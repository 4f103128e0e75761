"""What leaves for the broker: readings, info, discovery, and the journal they are replayed from."""
