"""All parts together on this machine, for `make run`."""
