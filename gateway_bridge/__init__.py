"""Modbus in, contract out: polls meters behind gateways and publishes their readings."""
