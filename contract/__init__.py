"""What is said on the wire: quantities, topics, readings, settings, errors and the MQTT client."""

__version__ = "0.1.0"
