"""Simulated meters on a simulated RS485 line behind a gateway, with faults on demand.

For trying Meterflow without hardware, and for its tests: `python -m simulator`
as a program, `Simulator` in a program.
"""

from simulator.bus import LineTiming
from simulator.simulator import Simulator

__all__ = ["LineTiming", "Simulator"]
