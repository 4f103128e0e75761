"""Starts the MQTT broker: Mosquitto where it is installed, else the embedded amqtt."""
