"""Checks of one meter: its responses, its model, its values and its wiring."""

import struct
from collections.abc import Iterator
from dataclasses import replace

from contract.quantities import BY_NAME, VOLTAGE
from gateway_bridge.commands.checks.findings import Finding, Level
from gateway_bridge.commands.checks.line import Line
from gateway_bridge.commands.meter_read import MeterRead, differs, read_meter, reported_model
from gateway_bridge.commands.probe import Outcome, Response
from gateway_bridge.meter.identity import HIGHEST_HERTZ, LOWEST_HERTZ
from gateway_bridge.meter.wiring import idle_phases, suspicions
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.frames import EXCEPTIONS, HOLDING, NO_ANSWER
from gateway_bridge.models import MODELS
from gateway_bridge.models.sdm630 import SDM630
from gateway_bridge.site.site import Gateway, Meter

LEAST_VOLTAGE = 10.0
"""A meter of another model shows values such as 1e-40 here."""
HIGHEST_VOLTAGE = 1000.0
TRIES = 4
BUSY = 6
_CABLE = (
    "check the terminals and the cable (120 Ω at both ends, away from motor cables, the shield"
    " connected at one end)"
)

_SERIALS = (
    "compare the numbers on the front of the meters with those of `meterflow scan`: two unit ids"
    " may be swapped"
)


async def check_meter(gateway: Gateway, line: Line, meter: Meter) -> list[Finding]:
    """Check one meter of a line on which a meter responds."""
    step = f"meter {meter.meter_id}"
    responses, serials = await _repeated_requests(line, meter)
    findings = list(_check_responses(step, meter, responses, serials))
    if not any(response.outcome is Outcome.ANSWER for response in responses):
        return findings
    other_model = await _check_model(step, line, meter)
    if other_model:
        return [*findings, other_model]
    everything = replace(meter, quantities=tuple(meter.model.registers))
    try:
        done = await read_meter(line.probe, everything, gateway)
    except GatewayError as error:
        if not findings:
            text = f"returns single values, but not all of them: {error}"
            findings.append(Finding(step, "fault", text, "check the model in the settings"))
        return findings
    # Values that make no sense say nothing about the wiring.
    if other := meter.other_serial(done.identity.serial):
        findings.append(Finding(step, "fault", other, _SERIALS))
    about_values = list(_check_values(step, done)) or list(_check_wiring(step, meter, done))
    if not any(finding.level == "fault" for finding in about_values):
        findings.append(Finding(step, "ok", _summary(meter, done)))
    return findings + about_values


async def _repeated_requests(line: Line, meter: Meter) -> tuple[list[Response], set[bytes]]:
    """Request a value and the serial number in turn, several times."""
    responses: list[Response] = []
    serials = set()
    model, unit = meter.model, meter.unit
    first, number = model.probe, model.serial_number
    for _ in range(TRIES):
        responses.append(
            await line.probe.request(unit, first.address, first.count, model.functions[0])
        )
        if number is not None and responses[-1].outcome is Outcome.ANSWER:
            serial = await line.probe.request(unit, number.address, number.count, HOLDING)
            if serial.outcome is Outcome.ANSWER:
                serials.add(serial.data)
            elif serial.outcome is not Outcome.EXCEPTION:
                responses.append(serial)
        if responses[-1].outcome is Outcome.CLOSED:
            await line.probe.open()
        if len(responses) > 1 and not any(response.from_meter for response in responses):
            break
    return responses, serials


def _check_responses(
    step: str, meter: Meter, responses: list[Response], serials: set[bytes]
) -> Iterator[Finding]:
    outcomes = [response.outcome for response in responses]
    answers, requests = outcomes.count(Outcome.ANSWER), len(outcomes)
    damaged = outcomes.count(Outcome.DAMAGED)
    if len(serials) > 1:
        numbers = " and ".join(sorted(str(int.from_bytes(each, "big")) for each in serials))
        yield Finding(
            step,
            "fault",
            f"two meters have the unit id {meter.unit}: serial numbers {numbers}",
            "give one of them another unit id in its menu",
        )
    elif damaged:
        text = f"{damaged} of {requests} responses are damaged"
        yield Finding(step, "fault", text, f"{_check_twins(meter)}; {_CABLE}")
    elif not answers:
        yield _silent(step, meter, responses)
    elif answers < requests:
        text = f"{requests - answers} of {requests} requests got no response"
        level: Level = "fault" if answers < requests / 2 else "warning"
        remedy = f"{_check_twins(meter)}; {_CABLE}; on a slow network, increase MODBUS_TIMEOUT"
        yield Finding(step, level, text, remedy)


def _silent(step: str, meter: Meter, responses: list[Response]) -> Finding:
    """Return why a meter did not answer once, while others on its line do."""
    codes = {each.code for each in responses if each.outcome is Outcome.EXCEPTION}
    if BUSY in codes:
        return Finding(
            step,
            "fault",
            "the gateway reports that it is busy",
            "stop other clients that poll it: its queue is full",
        )
    if codes - NO_ANSWER:
        code = min(codes - NO_ANSWER)
        return Finding(
            step,
            "fault",
            f"responds, but rejects its first register: exception {code}"
            f" ({EXCEPTIONS.get(code, 'unknown')})",
            f"check that unit {meter.unit} is an {meter.model.title}; `meterflow scan` shows the"
            " model that it reports",
        )
    return Finding(
        step,
        "fault",
        f"unit {meter.unit} does not respond, while others on this line do",
        "check its unit id, baud rate and parity in its menu, its power supply, and its A and B"
        " wires; `meterflow scan` shows which unit ids respond",
    )


def _check_twins(meter: Meter) -> str:
    return f"check whether two meters have the unit id {meter.unit}"


async def _check_model(step: str, line: Line, meter: Meter) -> Finding | None:
    """Return a fault if the meter is of another model than the settings say."""
    name, _ = await reported_model(line.probe, meter.unit)
    if title := differs(meter, name):
        remedy = f"set model = '{name}' for it in meters.toml" if name in MODELS else ""
        text = f"is an {title}, but the settings say {meter.model.title}"
        return Finding(step, "fault", text, remedy)
    if meter.model.maker == SDM630.maker and "voltage_l2" not in meter.model.registers:
        return await _check_one_phase(step, line, meter)
    return None


async def _check_one_phase(step: str, line: Line, meter: Meter) -> Finding | None:
    """Return a fault if a meter of one phase has a voltage where its maker's others have L2."""
    second = SDM630.registers["voltage_l2"]
    response = await line.probe.request(
        meter.unit, second.address, second.count, SDM630.functions[0]
    )
    if response.outcome is not Outcome.ANSWER:
        return None
    swapped = response.data[2:] + response.data[:2]
    for (volts,) in (struct.unpack(">f", data) for data in (response.data, swapped)):
        if LEAST_VOLTAGE < volts < HIGHEST_VOLTAGE:
            text = f"measures {volts:.0f} V on L2, but an {meter.model.title} has one phase only"
            remedy = "set its model in meters.toml, such as model = 'sdm630'"
            return Finding(step, "fault", text, remedy)
    return None


def _check_values(step: str, done: MeterRead) -> Iterator[Finding]:
    missing = done.missing
    if missing:
        shown = ", ".join(missing[:4]) + (", …" if len(missing) > 4 else "")
        yield Finding(
            step,
            "fault",
            f"{len(missing)} of its values are not numbers: {shown}",
            "check the model in the settings; if it is right, the meter is defective",
        )
        return
    volts = [value for name, value in done.values.items() if BY_NAME[name].kind == VOLTAGE]
    hertz = done.values.get("frequency")
    remedy = "check the voltage at its measuring terminals, and the model in the settings"
    if not any(done.values.values()):
        yield Finding(step, "fault", "returns only zeros", remedy)
    elif volts and max(volts) < LEAST_VOLTAGE:
        yield Finding(step, "fault", f"measures no voltage ({max(volts):.1f} V)", remedy)
    elif hertz is not None and not LOWEST_HERTZ < hertz < HIGHEST_HERTZ:
        yield Finding(step, "fault", f"measures a frequency of {hertz:.1f} Hz", remedy)


def _check_wiring(step: str, meter: Meter, done: MeterRead) -> Iterator[Finding]:
    wiring, menu = meter.wiring or done.identity.wiring, done.identity.wiring
    if menu is not None and wiring != menu:
        text = f"is set to {menu} in its menu, but to {wiring} in the settings"
        yield Finding(step, "warning", text, "set both to the actual wiring")
    for each in suspicions(done.values, wiring=wiring):
        yield Finding(step, "fault" if each.sure else "warning", each.text, each.remedy)


def _summary(meter: Meter, done: MeterRead) -> str:
    identity, values = done.identity, done.values
    volts = [values[name] for name in ("voltage_l1", "voltage") if name in values]
    details = [
        f"unit {meter.unit} responds: {meter.model.title}",
        f"serial number {identity.serial}" if identity.serial else "",
        identity.wiring or "",
        "low word first" if identity.low_word_first else "",
        f"{volts[0]:.1f} V" if volts else "",
        f"{values['power']:.0f} W" if "power" in values else "",
    ]
    idle = [phase.upper() for phase in idle_phases(values)]
    doubt = f"; load too small to check the wiring of {', '.join(idle)}" if idle else ""
    return ", ".join(filter(None, details)) + doubt
