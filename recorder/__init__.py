"""MQTT in, history out: the only writer of the database."""
