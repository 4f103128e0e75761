"""Moving readings in and out: files of ours, of Home Assistant, of simple loggers."""
