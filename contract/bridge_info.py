"""The info of a bridge: what `meters/_bridge/<name>/info` says about its meters."""

import msgspec

from contract.topics import METER_ID


class _Info(msgspec.Struct):
    meters: list[str] = []


_DECODER = msgspec.json.Decoder(_Info)


def meters_in(payload: bytes) -> list[str]:
    """Return the meters of a bridge; none where the payload is not such an info."""
    try:
        listed = _DECODER.decode(payload).meters
    except (msgspec.DecodeError, RecursionError):
        return []
    return [meter_id for meter_id in listed if METER_ID.fullmatch(meter_id)]
