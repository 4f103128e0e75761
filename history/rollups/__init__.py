"""Roll-ups of 5 minutes, an hour and a day, and which of them are dirty."""
