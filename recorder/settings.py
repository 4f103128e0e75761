"""Settings of the recorder."""

from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field

from contract.validation import Id
from history.exchange.archive import Archive
from history.retention import Keep
from service.settings import Settings
from service.zones import Zone, local_zone

Days = Annotated[int, Field(ge=0, le=36_500)]


class RecorderSettings(Settings):
    """The database, how long it keeps readings, and the name of this recorder."""

    database_url: str = Field(
        "sqlite:///energy_meters.db",
        description="Database of the history: sqlite:///FILE or postgresql://HOST/NAME.",
    )
    recorder_name: Id = Field(
        "main", description="Name of this recorder, also of its session at the broker."
    )
    recorder_group: Id | None = Field(
        None,
        description="Group of recorders that share the readings (empty = this one stores all).",
    )
    commit_interval: float = Field(
        30,
        ge=0,
        le=300,
        description="Longest delay of a commit in seconds, for readings of bridges with a journal; "
        "all other readings, and those of a group, are committed at once.",
    )
    new_meters_per_hour: int = Field(
        1000,
        ge=0,
        description="Number of new meter ids to accept per hour; as many more that have a status "
        "or info, and as many more that a bridge lists.",
    )
    keep_readings_days: Days = Field(
        30, description="Days to keep readings at full resolution (0 = forever)."
    )
    keep_five_minutes_days: Days = Field(
        90, description="Days to keep 5-minute roll-ups (0 = forever)."
    )
    keep_quarter_hours_days: Days = Field(
        0, description="Days to keep quarter-hourly roll-ups of counters and power (0 = forever)."
    )
    keep_hourly_days: Days = Field(0, description="Days to keep hourly roll-ups (0 = forever).")
    keep_daily_days: Days = Field(0, description="Days to keep daily roll-ups (0 = forever).")
    archive_directory: Path | None = Field(
        None,
        description="Directory for Parquet files of readings that are deleted (empty = none).",
    )
    timezone: Zone | None = Field(
        None,
        description="Time zone of days and prices, such as Europe/Berlin (default: the system's).",
    )

    peak_interval: float = Field(
        10,
        ge=0,
        le=900,
        description="Shortest time in seconds between two messages on meters/<id>/peak (0 = none).",
    )
    tariffs_file: Path = Field(
        Path("tariffs.toml"),
        description="File of energy prices; without it, no costs are computed.",
    )

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the days in commands."""
        return self.timezone or local_zone()

    @property
    def keep(self) -> Keep:
        """How long each level of the history is kept."""
        return Keep(
            raw=self.keep_readings_days,
            five_minutes=self.keep_five_minutes_days,
            quarter_hour=self.keep_quarter_hours_days,
            hour=self.keep_hourly_days,
            day=self.keep_daily_days,
        )

    def archive(self) -> Archive | None:
        """Return the archive, if one is set; raises SettingsError where it is impossible."""
        return Archive(self.archive_directory) if self.archive_directory else None
