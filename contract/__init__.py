"""The messages on the wire: quantities, topics, readings, and the requests of a replay."""
