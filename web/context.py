"""What the requests share: the parts of this service, kept with the app."""

from dataclasses import dataclass
from typing import cast
from zoneinfo import ZoneInfo

from flask import current_app

from history.tariffs import Tariffs
from service.zones import local_zone
from web.latest import Latest
from web.relay import Relay
from web.settings import WebSettings
from web.stored import Stored
from web.subscriber import Bus

KEY = "meterflow"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that one web service is made of."""

    settings: WebSettings
    stored: Stored
    bus: Bus
    latest: Latest
    relay: Relay
    zone: ZoneInfo
    tariffs: Tariffs | None

    @classmethod
    def of(cls, settings: WebSettings) -> "Parts":
        """Make the parts; nothing is connected yet. Raises SettingsError for wrong prices."""
        bus, latest = Bus(settings), Latest()
        return cls(
            settings,
            Stored(settings.database_url),
            bus,
            latest,
            Relay(bus, latest),
            settings.timezone or local_zone(),
            _tariffs(settings),
        )


def _tariffs(settings: WebSettings) -> Tariffs | None:
    path = settings.tariffs_file
    wanted = "tariffs_file" in settings.model_fields_set
    return Tariffs.load(path) if wanted or path.exists() else None


def parts() -> Parts:
    """Return the parts that belong to the app of this request."""
    return cast(Parts, current_app.extensions[KEY])
