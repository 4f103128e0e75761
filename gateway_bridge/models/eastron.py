"""What Eastron's meters have in common: how they report who they are."""

from gateway_bridge.models.model import Register

SERIAL_NUMBER = Register(0xFC00, "uint32")
SYSTEM_TYPE = Register(0x000A)
SYSTEM_TYPES = {1.0: "1p2w", 2.0: "3p3w", 3.0: "3p4w"}
CODE_REGISTER = 0xFC02
"""Answers one register only: a number for the model, where its firmware has it."""
