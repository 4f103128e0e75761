"""Recovery of the broker's files after a power cut: a damaged file is renamed, so that it starts.

What such a file held arrives again: readings from the bridges' journals, retained values from the
meters.
"""

import logging
import struct
from pathlib import Path

logger = logging.getLogger(__name__)

_MAGIC = b"\x00\xb5\x00mosquitto db"
_HEAD = struct.Struct(f">{len(_MAGIC)}sII")
_CHUNK = struct.Struct(">II")
_VERSIONS = (5, 6)
"""Versions of Mosquitto's format in which a chunk begins with its kind and its length."""


def set_aside(path: Path, fault: str) -> None:
    """Rename a damaged file and log it; what SQLite keeps beside it goes with it."""
    aside = path.with_name(f"{path.name}.damaged")
    for suffix in ("-wal", "-shm"):  # SQLite would take them for those of the new file
        beside = path.with_name(path.name + suffix)
        aside.with_name(aside.name + suffix).unlink(missing_ok=True)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    logger.warning(
        "%s, the broker's stored messages: %s; starting with an empty file, the old one is now %s. "
        "The bridges send lost readings again from their journals",
        path,
        fault,
        aside,
    )


def fault_of_mosquitto_file(path: Path) -> str | None:
    """Return why Mosquitto would not start with its file; None if it would.

    Checks only where the chunks end: 2.0.11 skips content that it does not know.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return None
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if size and not head.startswith(_MAGIC[: len(head)]):
            return "not a file of Mosquitto"
        if len(head) < _HEAD.size:
            return "truncated" if size else None
        if _HEAD.unpack(head)[2] not in _VERSIONS:
            return None
        while begun := file.read(_CHUNK.size):
            length = _CHUNK.unpack(begun)[1] if len(begun) == _CHUNK.size else size
            if file.seek(length, 1) > size:
                return "truncated"
    return None
