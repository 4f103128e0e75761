"""Meters that do not exist: SDM630s on a simulated RS485 line behind a gateway, faults included.

For trying Meterflow without hardware, and for its tests: `python -m gateway_bridge.simulator`
as a program, `Simulator` inside one.
"""

from gateway_bridge.simulator.line import LineTiming
from gateway_bridge.simulator.simulator import Simulator

__all__ = ["LineTiming", "Simulator"]
