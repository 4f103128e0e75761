"""What every program shares: settings, start and stop, the MQTT client, errors, time zones."""

__version__ = "0.1.0"
