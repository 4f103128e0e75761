"""Tariffs: what energy costs, from a small file that `docs/energy.md` describes.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from contract.validation import Id
from history.periods import Unit, midnight_of, start_of, start_of_next
from service.errors import SettingsError

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORBID = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
_NAME = "default"


def _clock(value: object) -> object:
    return time() if value == "24:00" else value


Clock = Annotated[time, BeforeValidator(_clock)]
Amount = Annotated[float, Field(allow_inf_nan=False)]
"""An amount of the file's currency."""
Label = Annotated[str, Field(min_length=1, max_length=60)]


class Window(BaseModel):
    """A time of day, on some weekdays, with its own price."""

    model_config = _FORBID

    name: Label | None = None
    begins: Clock = Field(alias="from")
    ends: Clock = Field(alias="to")
    days: tuple[Weekday, ...] = _WEEKDAYS
    price: Amount

    @property
    def text(self) -> str:
        """The name of the window, else its times."""
        return self.name or f"{self.begins:%H:%M} to {self.ends:%H:%M}"

    def contains(self, local: datetime) -> bool:
        """Return whether a local time lies in the window."""
        now, today = local.time(), _WEEKDAYS[local.weekday()]
        if self.begins < self.ends:
            return today in self.days and self.begins <= now < self.ends
        yesterday = _WEEKDAYS[local.weekday() - 1]
        return (today in self.days and now >= self.begins) or (
            yesterday in self.days and now < self.ends
        )


class Tier(BaseModel):
    """The price of the first kWh of a calendar month or year."""

    model_config = _FORBID

    up_to: float = Field(gt=0, allow_inf_nan=False)
    per: Literal["month", "year"]
    price: Amount


class Standing(BaseModel):
    """A charge for each day, month or year, whatever is consumed."""

    model_config = _FORBID

    name: Label = "standing charge"
    per: Literal["day", "month", "year"]
    price: Amount


class Tax(BaseModel):
    """A tax on top of the other lines: a percentage of them, or an amount per kWh drawn."""

    model_config = _FORBID

    name: Label = "tax"
    percent: Amount | None = None
    per_kwh: Amount | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.percent is None) == (self.per_kwh is None):
            raise ValueError("should have either percent or per_kwh")
        return self


class Rates(BaseModel):
    """The prices of a tariff that apply from a day on."""

    model_config = _FORBID

    name: Id = _NAME
    valid_from: date
    price: Amount | None = None
    dynamic: bool | Id = False
    markup: Amount = 0.0
    feed_in: Amount | Literal["dynamic"] = 0.0
    windows: tuple[Window, ...] = Field((), alias="window")
    tiers: tuple[Tier, ...] = Field((), alias="tier")
    standing: tuple[Standing, ...] = ()
    taxes: tuple[Tax, ...] = Field((), alias="tax")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problem := next(self._problems(), None):
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        if self.dynamic:
            fixed = {"price": self.price, "window": self.windows, "tier": self.tiers}
            for name in (name for name, given in fixed.items() if given not in (None, ())):
                yield f"{name}: should not stand in a dynamic tariff; use markup"
        else:
            if self.price is None:
                yield "price: field required, or dynamic = true"
            if self.feed_in == "dynamic" or self.markup:
                yield "dynamic: field required for a markup and for feed_in = 'dynamic'"
        if self.windows and self.tiers:
            yield "tier: should not stand beside window"
        if len({tier.per for tier in self.tiers}) > 1:
            yield "tier: all of them should have the same per"
        if any(later.up_to <= tier.up_to for tier, later in pairwise(self.tiers)):
            yield "tier: up_to should rise from one to the next"

    @property
    def price_list(self) -> str | None:
        """The name of the dynamic prices, None for fixed ones."""
        return self.name if self.dynamic is True else self.dynamic or None

    @property
    def tiers_per(self) -> Unit | None:
        """The period in which tiers count the consumption, None without tiers."""
        return Unit(self.tiers[0].per) if self.tiers else None

    @property
    def fixed(self) -> float:
        """The price of a kWh where no window or tier applies; 0 for a dynamic tariff."""
        return self.price or 0

    def price_at(self, local: datetime) -> float:
        """Return the price of a kWh at a local time: that of the first window that contains it."""
        return next((w.price for w in self.windows if w.contains(local)), self.fixed)

    @property
    def fixed_feed_in(self) -> float:
        """What is paid for a kWh fed in; 0 where that is dynamic."""
        return 0 if self.feed_in == "dynamic" else self.feed_in


@dataclass(frozen=True, slots=True)
class Tariff:
    """A tariff: its rates, oldest first."""

    name: str
    rates: Sequence[Rates]

    @property
    def without_standing(self) -> "Tariff":
        """The same without its standing charges."""
        if not any(rates.standing for rates in self.rates):
            return self
        return Tariff(
            self.name, [rates.model_copy(update={"standing": ()}) for rates in self.rates]
        )

    def at(self, moment: datetime, zone: ZoneInfo) -> Rates | None:
        """Return the rates that apply at a moment, None before the first."""
        return self.on(moment.astimezone(zone).date())

    def each_at(self, moments: Sequence[datetime], zone: ZoneInfo) -> list[Rates | None]:
        """Return the rates that apply at each moment, all in UTC."""
        starts = list(self._starts(zone))
        all_rates = [None, *self.rates]
        return [all_rates[bisect_right(starts, moment)] for moment in moments]

    def on(self, day: date) -> Rates | None:
        """Return the rates that apply on a local day, None before the first."""
        place = bisect_right(self.rates, day, key=_valid_from)
        return self.rates[place - 1] if place else None

    def price_at(self, moment: datetime, zone: ZoneInfo) -> float | None:
        """Return the price of a kWh at a moment, None before the first price."""
        rates = self.at(moment, zone)
        return rates.price_at(moment.astimezone(zone)) if rates else None

    def feed_in_at(self, moment: datetime, zone: ZoneInfo) -> float | None:
        """Return the price of a kWh fed in at a moment, None before the first price."""
        rates = self.at(moment, zone)
        return rates.fixed_feed_in if rates else None

    def within(self, since: datetime, until: datetime, zone: ZoneInfo) -> Sequence[Rates]:
        """Return the rates that apply between two times."""
        first, last = (
            bisect_right(self.rates, moment.astimezone(zone).date(), key=_valid_from)
            for moment in (since, until)
        )
        return self.rates[max(first - 1, 0) : last]

    def changes(self, since: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
        """Return the moments in UTC, in order, between two times at which a price may change."""
        moments = {*self._starts(zone), *self._window_edges(since, until, zone)}
        return sorted(moment for moment in moments if since < moment < until)

    def breaks(self, since: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
        """Return the moments in UTC, in order, at which other rates apply or tiers begin again."""
        moments = {*self._starts(zone), *self._tier_starts(since, until, zone)}
        return sorted(moment for moment in moments if since < moment < until)

    def _starts(self, zone: ZoneInfo) -> Iterator[datetime]:
        return (midnight_of(rates.valid_from, zone) for rates in self.rates)

    def _window_edges(self, since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        day, last = since.astimezone(zone).date(), until.astimezone(zone).date()
        while day <= last:
            today = self.on(day)
            for window in today.windows if today else ():
                yield midnight_of(day, zone)  # windows may apply on some weekdays only
                for clock in (window.begins, window.ends):
                    yield datetime.combine(day, clock, zone).astimezone(UTC)
            day += timedelta(days=1)

    def _tier_starts(self, since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        applied = self.within(since, until, zone)
        for unit in {rates.tiers_per for rates in applied if rates.tiers_per}:
            start = start_of(unit, since, zone)
            while start < until:
                yield start
                start = start_of_next(unit, start, zone)


class _File(BaseModel):
    model_config = _FORBID

    currency: str = "EUR"
    site: Id | None = None
    meters: dict[Id, Id] = Field(default_factory=dict)
    rates: tuple[Rates, ...] = Field(alias="tariff", min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Self:
        names = list(dict.fromkeys(rates.name for rates in self.rates))
        picked = {"site": self.site} | {f"meters.{meter}": n for meter, n in self.meters.items()}
        for place, name in picked.items():
            if name is not None and name not in names:
                raise ValueError(f"{place}: should be one of {', '.join(names)} (got {name!r})")
        starts = [(rates.name, rates.valid_from) for rates in self.rates]
        for number, (name, day) in enumerate(starts):
            if (name, day) in starts[:number]:
                raise ValueError(
                    f"tariff.{number}.valid_from: another tariff of the name {name!r} begins on "
                    f"{day}; give one of them another name"
                )
        return self


@dataclass(frozen=True, slots=True)
class Tariffs:
    """All tariffs of a site by name, and which of them a meter has.

    The others have that of the `site`, or the first.
    """

    currency: str
    named: Mapping[str, Tariff]
    meters: Mapping[str, str]
    site: str | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Return the tariffs of a file; raises SettingsError that names what is wrong in it."""
        try:
            with path.open("rb") as file:
                content = _File.model_validate(tomllib.load(file))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"tariff file {path}: {error}") from error
        except ValidationError as error:
            raise SettingsError(f"tariff file {path}: {_problem(error)}") from error
        by_name: dict[str, list[Rates]] = {}
        for rates in content.rates:
            by_name.setdefault(rates.name, []).append(rates)
        named = {
            name: Tariff(name, sorted(some, key=_valid_from)) for name, some in by_name.items()
        }
        return cls(content.currency, named, content.meters, content.site)

    @property
    def default(self) -> Tariff:
        """The tariff of meters for which the file names no other."""
        return self.named[self.site] if self.site else next(iter(self.named.values()))

    def of(self, meter_id: str) -> Tariff:
        """Return the tariff of a meter."""
        name = self.meters.get(meter_id)
        return self.named[name] if name else self.default


def _valid_from(rates: Rates) -> date:
    return rates.valid_from


def _problem(error: ValidationError) -> str:
    """Return the first problem of a file: its place, what was expected, what was found."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ")
    text = text if problem["type"] == "value_error" else text.lower()
    if isinstance(problem["input"], str | int | float) and problem["type"] != "value_error":
        text += f" (got {problem['input']!r:.60})"
    inside = problem["type"] == "value_error" and ": " in text
    return f"{where}{'.' if inside and where else ': ' if where else ''}{text}"
