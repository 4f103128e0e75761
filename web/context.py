"""What the requests share: the parts of this service, kept with the app."""

from dataclasses import dataclass
from typing import cast

from flask import current_app

from web.bus import Bus
from web.latest import Latest
from web.relay import Relay
from web.settings import WebSettings
from web.stored import Stored

KEY = "meterflow"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that one web service is made of."""

    settings: WebSettings
    stored: Stored
    bus: Bus
    latest: Latest
    relay: Relay

    @classmethod
    def of(cls, settings: WebSettings) -> "Parts":
        """Make the parts; nothing is connected yet."""
        bus, latest = Bus(settings), Latest()
        return cls(settings, Stored(settings.database_url), bus, latest, Relay(bus, latest))


def parts() -> Parts:
    """Return the parts that belong to the app of this request."""
    return cast(Parts, current_app.extensions[KEY])
