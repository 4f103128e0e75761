"""`python -m simulator`: meters without hardware, as a program of its own."""

import argparse
import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from gateway_bridge.models import MODELS, MeterModel
from service import __version__
from service.errors import SettingsError
from service.lifecycle import leave, set_up_log
from simulator import control
from simulator.faults import faults_help
from simulator.line import LineTiming
from simulator.simulator import Simulator

logger = logging.getLogger(__name__)

_ABSENT = "what the gateway says when no meter answers: nothing, or exception 0x0B (silent)"
_ORDER = "which register of a value comes first (high-first)"
_PARITY_BITS = {"8N1": 10, "8E1": 11, "8O1": 11, "8N2": 11}


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate until SIGTERM or SIGINT; exit 1 with one sentence where a port is taken."""
    options = _parser().parse_args(arguments)
    set_up_log(options.log_level)
    leave("simulator", lambda: asyncio.run(_simulate(options)))


async def _simulate(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    simulator = _simulator(options)
    for fault in options.fault:
        _must_obey(simulator, f"fault {fault}")
    async with simulator, contextlib.AsyncExitStack() as stack:
        if options.control is not None:
            server = await control.serve(simulator, options.host, options.control)
            stack.callback(server.close)
        if options.serial is not None:
            simulator.open_serial(options.serial)
            logger.info("simulator: the line itself is at %s", options.serial)
        logger.info(
            "simulator: meters %s on %s:%d, %s at %s baud",
            ",".join(map(str, options.units)),
            options.host,
            simulator.port,
            "Modbus TCP" if options.framing == "tcp" else "RTU over TCP",
            options.baud or "unlimited",
        )
        await stopped.wait()
    logger.info("simulator: stopped")


def _simulator(options: argparse.Namespace) -> Simulator:
    return Simulator(
        options.units,
        models=options.units,
        timing=LineTiming(
            baud=options.baud,
            bits_per_byte=_PARITY_BITS[options.line],
            turnaround_s=options.turnaround / 1000,
            pause_s=options.pause / 1000,
            reply_timeout_s=options.reply_timeout,
        ),
        framing=options.framing,
        seed=options.seed,
        clock=lambda: time.time() - time.timezone,
        word_order=options.word_order,
        absent=options.absent,
        listen=(options.host, options.port),
    )


def _must_obey(simulator: Simulator, command: str) -> None:
    answer = control.obey(simulator, command)
    if answer != "ok":
        raise SettingsError(f"--{command}: {answer.removeprefix('error: ')}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterflow simulator",
        description="SDM630 meters on a simulated RS485 line behind a Modbus gateway.",
        epilog=f"faults (--fault 'UNIT|gateway NAME [N] [share=0.1] [times=3]'):\n{faults_help()}"
        f"\n\ncommands on the --control port:\n{control.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"%(prog)s {__version__}")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, default=5020, help="port of the gateway; 0: any (%(default)s)")
    add("--units", type=_units, default="1,2,3", help="unit ids; 4:sdm120 for a model (1,2,3)")
    add("--framing", choices=("tcp", "rtu"), default="tcp", help="Modbus TCP, or RTU over TCP")
    add("--baud", type=_count, default=9600, help="speed of the line; 0: no limit (%(default)s)")
    add("--line", choices=tuple(_PARITY_BITS), default="8N1", help="bits and parity (8N1)")
    add("--turnaround", type=_time, default=40, help="a meter's delay in ms (%(default)s)")
    add("--pause", type=_time, default=20, help="the gateway's pause in ms (%(default)s)")
    add("--reply-timeout", type=_time, default=0.6, help="wait for a meter, in s (%(default)s)")
    add("--absent", choices=("silent", "exception"), default="silent", help=_ABSENT)
    add("--word-order", choices=("high-first", "low-first"), default="high-first", help=_ORDER)
    add("--seed", type=int, default=1, help="other seed, other meters (%(default)s)")
    add("--fault", action="append", default=[], help="switch a fault on; may be repeated")
    add("--serial", type=Path, help="put the line on a pseudo-terminal with this name too")
    add("--control", type=_port, help="take commands on this port")
    add("--log-level", choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"should be a port from 0 to 65535 (got {text!r})")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"should be a whole number (got {text!r})")
    return int(text)


def _time(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < 1e6:
        raise argparse.ArgumentTypeError(f"should be a time of 0 or more (got {text!r})")
    return number


def _units(text: str) -> dict[int, MeterModel]:
    units: dict[int, MeterModel] = {}
    for word in text.split(","):
        number, _, model = word.strip().partition(":")
        if not number.isdecimal() or not 1 <= int(number) <= 247:
            raise argparse.ArgumentTypeError(f"unit ids are 1 to 247, as in 1,2,3 (got {text!r})")
        if (model or "sdm630") not in MODELS:
            raise argparse.ArgumentTypeError(f"models are {', '.join(MODELS)} (got {model!r})")
        units[int(number)] = MODELS[model or "sdm630"]
    return units


if __name__ == "__main__":
    main()
