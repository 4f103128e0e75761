"""Files of a broker that were damaged, as by a power cut: set aside, lest it never starts again.

What they held comes again: readings from the bridges' journals, retained values from the meters.
"""

import logging
import struct
from pathlib import Path

logger = logging.getLogger(__name__)

_MAGIC = b"\x00\xb5\x00mosquitto db"
_HEAD = struct.Struct(f">{len(_MAGIC)}sII")
_CHUNK = struct.Struct(">II")
_VERSIONS = (5, 6)
"""Of the format; in these a chunk begins with its kind and its length."""


def set_aside(path: Path, why: str) -> None:
    """Rename a damaged file, so that the broker begins anew, and say so."""
    aside = path.rename(path.with_name(f"{path.name}.damaged"))
    logger.warning(
        "%s, what the broker had kept: %s; begun anew, the old one is %s. Readings that waited "
        "there are sent again from the bridges' journals",
        path,
        why,
        aside,
    )


def damage_of(path: Path) -> str | None:
    """Return what keeps Mosquitto from reading its file; it would not start. None if nothing.

    Only the ends of the chunks are looked at: 2.0.11 passes over what it does not know in them.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if size and not head.startswith(_MAGIC[: len(head)]):
            return "is not a file of Mosquitto's"
        if len(head) < _HEAD.size:
            return "ends too early" if size else None
        if _HEAD.unpack(head)[2] not in _VERSIONS:
            return None
        while begun := file.read(_CHUNK.size):
            length = _CHUNK.unpack(begun)[1] if len(begun) == _CHUNK.size else size
            if file.seek(length, 1) > size:
                return "ends too early"
    return None
