"""A reading: the values of one meter at one moment, and its forms on the wire.

The pydantic model `ReadingBody`, made from the catalogue, is the payload of `meters/<id>/reading`,
the body of POST /readings/, the rows of GET and the frames of /ws. Inside, it is a `Reading`.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, NotRequired

import msgspec
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    create_model,
    with_config,
)
from typing_extensions import TypedDict

from contract.arrival import MOST_AHEAD
from contract.errors import PayloadError
from contract.quantities import BY_NAME, QUANTITIES, Quantity
from contract.times import format_time, parse_time
from contract.topics import METER_ID
from contract.validation import ID_SCHEMA, Id, payload_error

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
"""A clock that shows an earlier time was never set."""
HIGHEST_SEQ = 2**53
"""Highest sequence number: JSON libraries that read numbers as doubles keep it."""
MAX_PAYLOAD_BYTES = 65536
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_MORE_DECIMALS = re.compile(rb"\.\d{4}")
_NEGATIVE_EXPONENT = re.compile(rb"-(?<=[eE]-)")  # begins with a literal: found in half the time
_NO_VALUE = frozenset({"", "nan", "none", "unknown", "unavailable", "null"})


class Reading(msgspec.Struct, frozen=True):
    """The values of a meter at `ts` (UTC): catalogue names and finite numbers.

    `stamped_on_arrival`: the sender had no usable clock, and `ts` is the time of arrival;
    `ahead_s`: by how much its clock was ahead, where that was too much. `from_scalars`: assembled
    from scalars.
    """

    meter_id: str
    ts: datetime
    values: Mapping[str, float]
    seq: int | None = None
    stamped_on_arrival: bool = False
    from_scalars: bool = False
    ahead_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the reading as the flat object of the contract, in the contract's order."""
        head: dict[str, Any] = {"ts": format_time(self.ts), "meter_id": self.meter_id}
        if self.seq is not None:
            head["seq"] = self.seq
        return head | dict(self.values)

    def encode(self) -> str:
        """Return the compact JSON of the contract."""
        return json.dumps(self.to_dict(), separators=(",", ":"), allow_nan=False)


def _number(quantity: Quantity) -> Any:
    kind = quantity.kind
    description = f"{quantity.label} in {kind.unit}" if kind.unit else quantity.label
    limits: dict[str, Any] = {"ge": kind.lowest, "le": kind.highest, "allow_inf_nan": False}
    return Annotated[float | None, Field(strict=True, description=description, **limits)]


_HEAD: dict[str, Any] = {
    "meter_id": Annotated[
        Id,
        Field(description="Id of the meter; a whole number is taken as its text."),
        WithJsonSchema(ID_SCHEMA),
    ],
    "ts": Annotated[
        StrictStr | StrictInt | StrictFloat | None,
        Field(description="RFC 3339 with a zone, or epoch seconds or milliseconds."),
        WithJsonSchema(
            {"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["number", "null"]}]}
        ),
    ],
    "seq": Annotated[
        int | None, Field(ge=0, le=HIGHEST_SEQ, description="Counts up by one with each reading.")
    ],
}
_FIELDS = _HEAD | {quantity.name: _number(quantity) for quantity in QUANTITIES}
_IGNORE = ConfigDict(extra="ignore")

_DEFINITIONS: dict[str, Any] = {name: (kind, None) for name, kind in _FIELDS.items()}
_DEFINITIONS["meter_id"] = (_FIELDS["meter_id"], ...)
ReadingBody = create_model("NewReading", __config__=_IGNORE, **_DEFINITIONS)

# The same fields again: without making a model, a payload is decoded in half the time.
_PAYLOAD = TypeAdapter[dict[str, Any]](
    with_config(_IGNORE)(TypedDict("Reading", {n: NotRequired[k] for n, k in _FIELDS.items()}))  # type: ignore[operator]
).validator


def _plain_number(quantity: Quantity) -> Any:
    lowest, highest = float(quantity.kind.lowest), float(quantity.kind.highest)
    return NotRequired[Annotated[float, msgspec.Meta(ge=lowest, le=highest)]]


_PLAIN_FIELDS: dict[str, Any] = {
    "meter_id": NotRequired[str],
    "ts": NotRequired[str],
    "seq": NotRequired[Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_SEQ)]],
} | {quantity.name: _plain_number(quantity) for quantity in QUANTITIES}
_PLAIN = msgspec.json.Decoder[dict[str, Any]](TypedDict("PlainReading", _PLAIN_FIELDS))  # type: ignore[operator]


def decode_reading(
    payload: bytes | str, *, arrived: datetime, meter_id: str | None = None
) -> Reading:
    """Return the reading in a JSON payload; `meter_id` is the topic's, where there is one.

    Raises PayloadError naming each field that is wrong.
    """
    if isinstance(payload, str):
        payload = payload.encode()
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise PayloadError("too_large", [("", f"more than {MAX_PAYLOAD_BYTES} bytes")])
    rounded = not (_MORE_DECIMALS.search(payload) or _NEGATIVE_EXPONENT.search(payload))
    given = _plain_payload(payload, meter_id) if rounded else None
    if given is not None:
        return _reading(given, arrived, meter_id, rounded=True)
    try:
        given = _PAYLOAD.validate_json(payload)
    except ValidationError as error:
        raise payload_error(error) from error
    return _reading(given, arrived, meter_id, rounded=rounded and None not in given.values())


def _plain_payload(payload: bytes, meter_id: str | None) -> dict[str, Any] | None:
    """Return the fields of a plain payload, at a third of the cost; None for any other.

    A plain payload is what a bridge sends: an object of fields that Meterflow knows, each once and
    in its range, the quantities in the catalogue's order. pydantic decides about everything else,
    and makes the error messages.
    """
    try:
        given = _PLAIN.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return None
    own_id: str | None = given.get("meter_id")
    if not (own_id is None or own_id == meter_id or METER_ID.fullmatch(own_id)):
        return None
    # The quotes of a field that is unknown or sent twice would be left over.
    texts = len(given) + ("ts" in given) + (own_id is not None)
    if payload.count(b'"') != 2 * texts or not _in_order(tuple(given)):
        return None
    return given


@lru_cache(1000)
def _in_order(fields: tuple[str, ...]) -> bool:
    quantities = [name for name in fields if name not in _HEAD]
    return quantities == [name for name in BY_NAME if name in quantities]


def reading_from_body(body: BaseModel, *, arrived: datetime) -> Reading:
    """Return the reading in a body that pydantic has accepted.

    Raises PayloadError where the fields do not make a reading: no meter, no quantity, no such time.
    """
    return _reading(body.model_dump(exclude_unset=True), arrived, None, rounded=False)


def _reading(
    given: dict[str, Any], arrived: datetime, meter_id: str | None, *, rounded: bool
) -> Reading:
    """Return the reading of these fields; `rounded`: to three decimals, without null."""
    own_id, stamp = given.pop("meter_id", None), given.pop("ts", None)
    ts, seq = None if stamp is None else parse_time(stamp), given.pop("seq", None)
    if meter_id and own_id and own_id != meter_id:
        text = f"is {own_id!r}, but the topic is that of meter {meter_id!r}"
        raise PayloadError("id_mismatch", [("meter_id", text)])
    meter_id = meter_id or own_id
    if not meter_id:
        raise PayloadError("bad_value", [("meter_id", "is missing")])
    if not rounded:
        given = {name: round(value, 3) for name, value in given.items() if value is not None}
    if not given:
        problem = "holds no quantity of the catalogue, which GET /quantities/ lists"
        raise PayloadError("no_quantity", [("", problem)])
    if ts is not None and EARLIEST <= ts <= arrived + MOST_AHEAD:
        return Reading(meter_id, ts, given, seq)
    ahead_s = (ts - arrived).total_seconds() if ts is not None and ts > arrived else 0.0
    return Reading(meter_id, arrived, given, seq, stamped_on_arrival=True, ahead_s=ahead_s)


def decode_scalar(quantity: str, payload: bytes) -> float | None:
    """Return the number in a scalar's payload, None where the payload means "no value".

    Raises PayloadError for anything else.
    """
    text = payload[:64].decode("utf-8", "replace").strip()
    if text.lower() in _NO_VALUE:
        return None
    if len(payload) > 64 or not _NUMBER.fullmatch(text):
        raise PayloadError("bad_value", [(quantity, f"should be a number (got {text[:40]!r})")])
    value, kind = float(text), BY_NAME[quantity].kind
    if not (math.isfinite(value) and kind.lowest <= value <= kind.highest):
        text = f"should be from {kind.lowest:g} to {kind.highest:g} {kind.unit} (got {text[:40]})"
        raise PayloadError("bad_value", [(quantity, text)])
    return round(value, 3)
