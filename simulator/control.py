"""Commands to a running simulator, one on each line.

set UNIT QUANTITY VALUE             pin a quantity, or serial_number, or system_type
set UNIT netting 1                  net import and export across the phases (0: count each phase)
clear UNIT [QUANTITY]               unpin a quantity, or all: they follow the load again
fault UNIT|gateway NAME [N] [share=0.1] [times=3]
                                    switch a fault on
fault UNIT|gateway NAME off         switch a fault off
fault UNIT|gateway off              switch all faults off
stats                               requests and answers by unit id, as JSON
The response to a line is `ok`, JSON, or `error: ...`.
"""

import asyncio
import json
import os
from collections.abc import Sequence

from simulator.faults import SimulatorError
from simulator.simulator import Simulator

LONGEST_LINE = 1000
USAGE = "\n".join(f"  {line}" for line in (__doc__ or "").strip().splitlines()[2:])
"""The commands, for --help."""
_HINT = "commands: set, clear, fault, stats; see meterflow simulator --help"


def run_command(simulator: Simulator, line: str) -> str:
    """Run one command and return the response."""
    try:
        return _run(simulator, line.split())
    except SimulatorError as error:
        return f"error: {error}"


class ControlConnection(asyncio.Protocol):
    """One connection on the control port, which sends an answer to each line."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport for the answers."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Run each complete line; close the connection if a line is too long."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            answer = run_command(self.simulator, line.decode(errors="replace"))
            self._transport.write(answer.encode() + b"\n")
        if len(self._buffer) > LONGEST_LINE:
            self._transport.close()


async def serve(simulator: Simulator, host: str, port: int) -> asyncio.Server:
    """Accept commands on a port; raises SimulatorError if it is in use."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(lambda: ControlConnection(simulator), host, port)
    except OSError as error:
        raise SimulatorError(
            f"cannot accept commands on {host}:{port}: {os.strerror(error.errno or 0)}; "
            "choose another port"
        ) from error


def _run(simulator: Simulator, words: Sequence[str]) -> str:
    match list(words):
        case ["set", unit, quantity, value]:
            simulator.set(_unit(unit), quantity, _number(value))
        case ["clear", unit, *quantity] if len(quantity) < 2:
            simulator.clear(_unit(unit), *quantity)
        case ["fault", scope, "off"]:
            simulator.mend(_scope(scope))
        case ["fault", scope, name, "off"]:
            simulator.mend(_scope(scope), name)
        case ["fault", scope, name, *rest]:
            _switch_on(simulator, _scope(scope), name, rest)
        case ["stats"]:
            return _statistics(simulator)
        case _:
            raise SimulatorError(_HINT)
    return "ok"


def _switch_on(simulator: Simulator, scope: int | None, name: str, rest: Sequence[str]) -> None:
    argument, share, times = None, 1.0, None
    for word in rest:
        if word.startswith("share="):
            share = _number(word.removeprefix("share="))
        elif word.startswith("times="):
            times = _unit(word.removeprefix("times="))
        else:
            argument = _number(word)
    simulator.fault(scope, name, argument, share=share, times=times)


def _statistics(simulator: Simulator) -> str:
    statistics = simulator.statistics
    return json.dumps(
        {
            "requests": statistics.requests,
            "answers": statistics.answers,
            "exceptions": statistics.exceptions,
            "busy_s": round(statistics.busy_s, 6),
            "connections": statistics.connections,
            "clients": len(simulator.gateway.clients),
            "most_clients": statistics.most_clients,
        }
    )


def _scope(word: str) -> int | None:
    return None if word == "gateway" else _unit(word)


def _unit(word: str) -> int:
    try:
        return int(word)
    except ValueError as error:
        raise SimulatorError(f"should be a whole number (got {word!r})") from error


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise SimulatorError(f"should be a number (got {word!r})") from error
