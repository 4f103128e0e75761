"""The command `meterflow`: a verb for each thing, and `run`, which starts all parts together."""
