"""Meters that do not exist: SDM630s on a simulated RS485 line behind a gateway, faults included.

For trying Meterflow without hardware, and for its tests: `python -m simulator`
as a program, `Simulator` inside one.
"""

from simulator.line import LineTiming
from simulator.simulator import Simulator

__all__ = ["LineTiming", "Simulator"]
