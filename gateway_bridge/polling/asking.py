"""Asking: a block of a meter, in a request whose answer can be told from others."""

from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.modbus.connection import Connection
from gateway_bridge.modbus.errors import MeterFault, MeterRefusal

REFUSED = frozenset({2, 3})
"""Exceptions that say that a meter does not have what it was asked for, or not so much."""


async def read_block(connection: Connection, meter: PolledMeter, block: Block) -> bytes:
    """Return the registers of a block.

    Raises as Connection.read does; MeterRefusal where the meter has learnt from it what it may be
    asked, MeterFault where the answer could not be told from one to another client.
    """
    unit = meter.meter.unit
    request = connection.lengths.choose(unit, meter.requests_for(block))
    if request is None:
        raise MeterFault("another client asks for as much; whose an answer is cannot be told")
    try:
        function = meter.meter.model.functions[0]
        answer = await connection.read(unit, request.address, request.count, function)
    except MeterFault as error:
        if error.code not in REFUSED or not meter.limits.learns_of(request):
            raise
        if request == block:
            meter.refused(block, str(error))
        else:
            meter.cannot_grow(block, request)
        raise MeterRefusal(str(error), error.code) from error
    connection.lengths.answered(request)
    meter.limits.answered(request)
    return answer[: 2 * block.count]
