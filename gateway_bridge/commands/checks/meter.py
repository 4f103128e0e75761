"""One meter: does it answer each time, is it the one in the settings, what do its values say."""

from collections.abc import Iterator
from dataclasses import replace

from gateway_bridge.commands.checks.line import Line
from gateway_bridge.commands.findings import Finding, Level, Tell
from gateway_bridge.commands.lines import MeterRead, read_meter
from gateway_bridge.commands.probe import Heard, Outcome
from gateway_bridge.commands.wiring import suspicions, unjudged
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.frames import EXCEPTIONS, HOLDING, NO_ANSWER
from gateway_bridge.models import METER_CODES, MODELS
from gateway_bridge.site.site import Gateway, Meter

TRIES = 4
BUSY = 6
_CABLE = (
    "check the terminals and the cable (120 Ω at both ends, away from motor cables, the shield"
    " connected at one end)"
)


async def check_meter(gateway: Gateway, line: Line, meter: Meter, tell: Tell) -> MeterRead | None:
    """Look at one meter of a line that answers; return what it measures, where it is fit to."""
    step = f"meter {meter.meter_id}"
    heard, serials = await _tried(line, meter)
    trouble = list(_answers(step, meter, heard, serials))
    for finding in trouble:
        tell(finding)
    if not any(each.outcome is Outcome.ANSWER for each in heard):
        return None
    stranger = await _another_model(step, line, meter)
    if stranger:
        tell(stranger)
        return None
    everything = replace(meter, quantities=tuple(meter.model.registers))
    try:
        said = await read_meter(line.probe, everything, gateway)
    except GatewayError as error:
        if not trouble:
            text = f"answers single values, but not all: {error}"
            tell(Finding(step, "fault", text, "is the model in the settings right?"))
        return None
    found = [*_values(step, said), *_wired(step, meter, said)]
    if not any(finding.level == "fault" for finding in found):
        tell(Finding(step, "ok", _summary(meter, said)))
    for finding in found:
        tell(finding)
    return None if found or trouble else said


async def _tried(line: Line, meter: Meter) -> tuple[list[Heard], set[bytes]]:
    """Ask for a value and the serial number in turn, several times."""
    heard, serials = [], set()
    for _ in range(TRIES):
        model, first = meter.model, meter.model.probe
        heard.append(
            await line.probe.ask(meter.unit, first.address, first.count, model.functions[0])
        )
        number = model.serial_number
        if number is not None and heard[-1].outcome is Outcome.ANSWER:
            said = await line.probe.ask(meter.unit, number.address, number.count, HOLDING)
            if said.outcome is Outcome.ANSWER:
                serials.add(said.data)
            elif said.outcome is not Outcome.EXCEPTION:
                heard.append(said)
        if heard[-1].outcome is Outcome.CLOSED:
            await line.probe.open()
        if len(heard) > 1 and not any(each.of_a_meter for each in heard):
            break
    return heard, serials


def _answers(step: str, meter: Meter, heard: list[Heard], serials: set[bytes]) -> Iterator[Finding]:
    """Yield what is wrong with how a meter answers."""
    kinds = [each.outcome for each in heard]
    answers, tries = kinds.count(Outcome.ANSWER), len(kinds)
    damaged = kinds.count(Outcome.DAMAGED)
    if len(serials) > 1:
        numbers = " and ".join(sorted(str(int.from_bytes(each, "big")) for each in serials))
        yield Finding(
            step,
            "fault",
            f"two meters have the unit id {meter.unit}: serial numbers {numbers}",
            "give one of them another unit id in its menu",
        )
    elif damaged:
        text = f"{damaged} of {tries} answers are damaged"
        yield Finding(step, "fault", text, f"{_twins(meter)}; {_CABLE}")
    elif not answers:
        yield _never(step, meter, heard)
    elif answers < tries:
        text = f"{tries - answers} of {tries} requests stay without an answer"
        level: Level = "fault" if answers < tries / 2 else "look"
        remedy = f"{_twins(meter)}; {_CABLE}; over a slow network a longer MODBUS_TIMEOUT helps"
        yield Finding(step, level, text, remedy)


def _never(step: str, meter: Meter, heard: list[Heard]) -> Finding:
    """Say what it means that a meter did not answer once, while others do."""
    codes = {each.code for each in heard if each.outcome is Outcome.EXCEPTION}
    if BUSY in codes:
        return Finding(
            step,
            "fault",
            "the gateway says that it is busy",
            "stop other clients that poll it: its queue is full",
        )
    if codes - NO_ANSWER:
        code = min(codes - NO_ANSWER)
        return Finding(
            step,
            "fault",
            f"answers, but refuses its first register: exception {code}"
            f" ({EXCEPTIONS.get(code, 'unknown')})",
            f"is unit {meter.unit} an {meter.model.title}? `python -m gateway_bridge scan` shows"
            " what it says it is",
        )
    return Finding(
        step,
        "fault",
        f"unit {meter.unit} does not answer, while others on this line do",
        "check its unit id, baud rate and parity in its menu, its power, and its A and B wires;"
        " `python -m gateway_bridge scan` shows which unit ids answer",
    )


def _twins(meter: Meter) -> str:
    return f"look whether two meters have the unit id {meter.unit}"


async def _another_model(step: str, line: Line, meter: Meter) -> Finding | None:
    """Return that a meter says it is another model than the settings do, where it says so."""
    register = meter.model.code_register
    if register is None:
        return None
    heard = await line.probe.ask(meter.unit, register, 1, HOLDING)
    code = int.from_bytes(heard.data, "big")
    name = METER_CODES.get((register, code)) if heard.data else None
    if name in (None, meter.model.name):
        return None
    assert name
    title = MODELS[name].title if name in MODELS else name
    remedy = f"write model = '{name}' for it in meters.toml" if name in MODELS else ""
    text = f"is an {title}, the settings say {meter.model.title}"
    return Finding(step, "fault", text, remedy)


def _values(step: str, said: MeterRead) -> Iterator[Finding]:
    missing = [name for name in said.asked if name not in said.values]
    if missing:
        shown = ", ".join(missing[:4]) + (", …" if len(missing) > 4 else "")
        yield Finding(
            step,
            "fault",
            f"{len(missing)} of its values are not numbers: {shown}",
            "is the model in the settings right? If it is, the meter is broken",
        )
    elif not any(said.values.values()):
        yield Finding(
            step,
            "fault",
            "answers nothing but zeros",
            "is there voltage at its measuring terminals, and is the model in the settings right?",
        )


def _wired(step: str, meter: Meter, said: MeterRead) -> Iterator[Finding]:
    wiring, menu = meter.wiring or said.identity.wiring, said.identity.wiring
    if menu is not None and wiring != menu:
        text = f"is set to {menu} in its menu, to {wiring} in the settings"
        yield Finding(step, "look", text, "make the two agree, as it is wired")
    for suspicion in suspicions(said.values, wiring=wiring):
        yield Finding(step, "fault" if suspicion.sure else "look", suspicion.text, suspicion.remedy)


def _summary(meter: Meter, said: MeterRead) -> str:
    identity = said.identity
    volts = [said.values[name] for name in ("voltage_l1", "voltage") if name in said.values]
    known = [
        f"unit {meter.unit} answers: {meter.model.title}",
        f"serial number {identity.serial}" if identity.serial else "",
        f"{identity.wiring}" if identity.wiring else "",
        "low word first, which is minded" if identity.low_word_first else "",
        f"{volts[0]:.1f} V" if volts else "",
        f"{said.values['power']:.0f} W" if "power" in said.values else "",
    ]
    idle = " and ".join(phase.upper() for phase in unjudged(said.values))
    doubt = f"; {idle} carry too little to judge the wiring by" if idle else ""
    return ", ".join(filter(None, known)) + doubt
