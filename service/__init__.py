"""What every program shares: settings, start and stop, commands, terminal, log, MQTT client."""

__version__ = "0.1.0"
