"""The parts of the web service that its requests share, kept with the app."""

from dataclasses import dataclass
from typing import cast
from zoneinfo import ZoneInfo

from flask import current_app

from contract.arrival import ArrivalTimes
from history.tariffs import Tariffs
from service.zones import local_zone
from web.access import Access
from web.history_reader import HistoryReader
from web.latest import Latest
from web.relay import Relay
from web.settings import WebSettings
from web.stored_meters import StoredMeters
from web.subscriber import Subscriber
from web.tariffs_file import TariffsFile

KEY = "meterflow"


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one web service."""

    settings: WebSettings
    access: Access
    history: HistoryReader
    stored_meters: StoredMeters
    subscriber: Subscriber
    latest: Latest
    relay: Relay
    arrivals: ArrivalTimes
    zone: ZoneInfo
    tariffs_file: TariffsFile

    @property
    def tariffs(self) -> Tariffs | None:
        """The tariffs of now; a request reads them once."""
        return self.tariffs_file.tariffs()

    @classmethod
    def of(cls, settings: WebSettings) -> "Parts":
        """Return the parts, none of them connected yet. Raises SettingsError for wrong files."""
        subscriber, latest = Subscriber(settings), Latest()
        given = settings.model_fields_set
        history = HistoryReader(settings.database_url)
        return cls(
            settings,
            Access(settings),
            history,
            StoredMeters(history),
            subscriber,
            latest,
            Relay(subscriber, latest),
            ArrivalTimes(),
            settings.timezone or local_zone(),
            TariffsFile(settings.tariffs_file, is_required="tariffs_file" in given),
        )


def parts() -> Parts:
    """Return the parts of the current request's app."""
    return cast(Parts, current_app.extensions[KEY])
