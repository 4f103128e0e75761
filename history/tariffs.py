"""Prices of energy from a small file: flat or by time of day and weekday, and for feed-in.

    currency = "EUR"

    [[tariff]]
    valid_from = 2026-01-01
    price = 0.32                  # per kWh, when no window below applies
    feed_in = 0.08                # paid for each kWh fed in; default: 0

    [[tariff.window]]
    from = "22:00"                # local time; may go past midnight
    to = "06:00"
    days = ["mon", "tue", "wed", "thu", "fri"]      # on which it begins; default: all
    price = 0.24

Costs are computed when they are requested, so that a changed price takes effect at once.
"""

import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from history.periods import midnight_of
from service.errors import SettingsError

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORBID = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _clock(value: object) -> object:
    return time() if value == "24:00" else value


Clock = Annotated[time, BeforeValidator(_clock)]


class Window(BaseModel):
    """A time of day, on some weekdays, with its own price."""

    model_config = _FORBID

    begins: Clock = Field(alias="from")
    ends: Clock = Field(alias="to")
    days: tuple[Weekday, ...] = _WEEKDAYS
    price: float

    def contains(self, local: datetime) -> bool:
        """Return whether a local time lies in the window."""
        now, today = local.time(), _WEEKDAYS[local.weekday()]
        if self.begins < self.ends:
            return today in self.days and self.begins <= now < self.ends
        yesterday = _WEEKDAYS[local.weekday() - 1]
        return (today in self.days and now >= self.begins) or (
            yesterday in self.days and now < self.ends
        )


class Tariff(BaseModel):
    """The prices that apply from a day on."""

    model_config = _FORBID

    valid_from: date
    price: float
    feed_in: float = 0
    windows: tuple[Window, ...] = Field((), alias="window")

    def price_at(self, local: datetime) -> float:
        """Return the price of a kWh at a local time: that of the first window that contains it."""
        return next((w.price for w in self.windows if w.contains(local)), self.price)


class _File(BaseModel):
    model_config = _FORBID

    currency: str = "EUR"
    tariffs: tuple[Tariff, ...] = Field(alias="tariff", min_length=1)


@dataclass(frozen=True, slots=True)
class Tariffs:
    """All prices of a site, oldest first."""

    currency: str
    tariffs: Sequence[Tariff]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the prices of a file; raises SettingsError that names what is wrong in it."""
        try:
            with path.open("rb") as file:
                content = _File.model_validate(tomllib.load(file))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"tariff file {path}: {error}") from error
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise SettingsError(f"tariff file {path}: {where}: {problem['msg'].lower()}") from error
        return cls(content.currency, sorted(content.tariffs, key=lambda t: t.valid_from))

    def at(self, moment: datetime, zone: ZoneInfo) -> Tariff | None:
        """Return the prices that apply at a moment, None before the first."""
        day = moment.astimezone(zone).date()
        place = bisect_right(self.tariffs, day, key=lambda tariff: tariff.valid_from)
        return self.tariffs[place - 1] if place else None

    def price_at(self, moment: datetime, zone: ZoneInfo) -> float | None:
        """Return the price of a kWh at a moment, None before the first price."""
        tariff = self.at(moment, zone)
        return tariff.price_at(moment.astimezone(zone)) if tariff else None

    def feed_in_at(self, moment: datetime, zone: ZoneInfo) -> float | None:
        """Return the price of a kWh fed in at a moment, None before the first price."""
        tariff = self.at(moment, zone)
        return tariff.feed_in if tariff else None

    def changes(self, since: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
        """Return the moments in UTC, in order, between two times at which a price may change."""
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        moments = set(self._moments(since, until, zone))
        return sorted(moment for moment in moments if since < moment < until)

    def _moments(self, since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        day, last = since.astimezone(zone).date(), until.astimezone(zone).date()
        for tariff in self.tariffs:
            yield midnight_of(tariff.valid_from, zone)
        while day <= last:
            today = self.at(midnight_of(day, zone), zone)
            for window in today.windows if today else ():
                yield midnight_of(day, zone)  # windows may apply on some weekdays only
                for clock in (window.begins, window.ends):
                    yield datetime.combine(day, clock, zone).astimezone(UTC)
            day += timedelta(days=1)
