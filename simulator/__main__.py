"""`meterflow simulator`: simulated meters as a program."""

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
from simulator.bus import LineTiming
from simulator.faults import faults_help
from simulator.load import HOMESTEAD
from simulator.simulator import Simulator

logger = logging.getLogger(__name__)

_EPILOG = f"""\
faults of a meter, for --fault and the control port (N=its default):
{faults_help("meter")}

faults of the gateway; those of a meter apply to all its meters:
{faults_help("gateway")}

commands on the control port:
{control.USAGE}

examples:
  meterflow simulator --units 1,2,7:em340 --baud 38400
  meterflow simulator --fault '1 dead' --fault 'gateway late 2 share=0.1'
"""
_BITS = {"8N1": 10, "8E1": 11, "8O1": 11, "8N2": 11}


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate until SIGTERM or SIGINT; exit 1 with an error message if a port is in use."""
    options = _parser().parse_args(arguments)
    set_up_log(options.log_level)
    leave("simulator", lambda: asyncio.run(_simulate(options)))


async def _simulate(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    simulator = _simulator(options)
    for fault in options.fault:
        _run_command(simulator, f"fault {fault}")
    async with simulator, contextlib.AsyncExitStack() as stack:
        if options.control is not None:
            server = await control.serve(simulator, options.host, options.control)
            stack.callback(server.close)
        if options.serial is not None:
            simulator.open_serial(options.serial)
            logger.info("simulator: serial line at %s", options.serial)
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
    simulator = Simulator(
        options.units,
        models=options.units,
        timing=LineTiming(
            baud=options.baud,
            bits_per_byte=_BITS[options.line],
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
    if options.homestead:
        for meter in simulator.meters.values():
            meter.follow(HOMESTEAD[(meter.unit - 1) % len(HOMESTEAD)])
    for unit in options.netting:
        if unit not in options.units:
            raise SettingsError(f"--netting: unit {unit} is not one of --units")
        simulator.set(unit, "netting", 1)
    return simulator


def _run_command(simulator: Simulator, command: str) -> None:
    answer = control.run_command(simulator, command)
    if answer != "ok":
        raise SettingsError(f"--{command}: {answer.removeprefix('error: ')}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="meterflow simulator",
        description="Simulate meters on an RS485 line behind a Modbus gateway.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    parser.add_argument(
        "--log-level", choices=levels, default="INFO", help="lowest level to log (%(default)s)"
    )
    _add_meters(parser.add_argument_group("meters"))
    _add_gateway(parser.add_argument_group("gateway"))
    _add_line(parser.add_argument_group("RS485 line"))
    return parser


def _add_meters(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--units",
        type=_units,
        default="1,2,3",
        metavar="UNIT[:MODEL],...",
        help=f"unit ids, SDM630 unless a model is given: {', '.join(MODELS)} (%(default)s)",
    )
    group.add_argument(
        "--homestead",
        action="store_true",
        help="simulate one house: unit 1 measures all of it, 2 its solar power, 3 its heat pump, "
        "4 its workshop (default: houses that are independent)",
    )
    group.add_argument(
        "--netting",
        type=_units,
        default={},
        metavar="UNIT,...",
        help="unit ids of meters that net import and export across their phases "
        "(default: none; an SDM630 counts each phase by its own direction)",
    )
    group.add_argument(
        "--word-order",
        choices=("high-first", "low-first"),
        default="high-first",
        help="order of the registers of a float value (%(default)s)",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=1,
        help="seed of the values and of the random faults (%(default)s)",
    )
    group.add_argument(
        "--fault",
        action="append",
        default=[],
        help="fault to start with: 'UNIT|gateway NAME [N] [share=0.1] [times=3]'; repeatable",
    )


def _add_gateway(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=_port, default=5020, help="port to listen on; 0: any (%(default)s)")
    add(
        "--framing",
        choices=("tcp", "rtu"),
        default="tcp",
        help="Modbus TCP, or RTU over TCP (%(default)s)",
    )
    add(
        "--absent",
        choices=("silent", "exception"),
        default="silent",
        help="response for a meter that is absent: none, or exception 0x0B (%(default)s)",
    )
    add("--control", type=_port, metavar="PORT", help="port that accepts commands")


def _add_line(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--baud", type=_count, default=9600, help="baud rate; 0: no limit (%(default)s)")
    add(
        "--line",
        choices=tuple(_BITS),
        default="8N1",
        help="data bits, parity and stop bits (%(default)s)",
    )
    add(
        "--turnaround",
        type=_time,
        default=40,
        metavar="MS",
        help="time that a meter takes to respond, in ms (%(default)s)",
    )
    add(
        "--pause",
        type=_time,
        default=20,
        metavar="MS",
        help="pause of the gateway between requests, in ms (%(default)s)",
    )
    add(
        "--reply-timeout",
        type=_time,
        default=0.6,
        metavar="S",
        help="time that the gateway waits for a meter, in seconds (%(default)s)",
    )
    add("--serial", type=Path, metavar="PATH", help="open the line at a pseudo-terminal too")


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
