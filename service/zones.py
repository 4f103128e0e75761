"""The time zone of a site: where its days begin and when its prices change."""

import os
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator

from service.errors import SettingsError

_LOCALTIME = Path("/etc/localtime")


def zone_of(name: str) -> ZoneInfo:
    """Return the zone with this name; raises SettingsError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise SettingsError(
            f"{name!r} is not a time zone; expected a name such as Europe/Berlin"
        ) from error


def _zone(value: object) -> object:
    try:
        return zone_of(value) if isinstance(value, str) else value
    except SettingsError as error:
        raise ValueError("should be the name of a time zone, such as Europe/Berlin") from error


Zone = Annotated[ZoneInfo, BeforeValidator(_zone)]


def local_zone() -> ZoneInfo:
    """Return the zone of this machine, or UTC where its name is unknown."""
    target = str(_LOCALTIME.resolve()).partition("/zoneinfo/")[2]
    for name in (os.environ.get("TZ", "").removeprefix(":"), target):
        try:
            if name:
                return zone_of(name)
        except SettingsError:
            continue
    return ZoneInfo("UTC")
