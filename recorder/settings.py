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
    """Where readings are kept and for how long, and what this recorder is called."""

    database_url: str = Field(
        "sqlite:///energy_meters.db",
        description="Where readings are kept: sqlite:///FILE or postgresql://HOST/NAME.",
    )
    recorder_name: Id = Field(
        "main", description="Name of this recorder; its session at the broker goes by it."
    )
    recorder_group: Id | None = Field(
        None,
        description="Recorders of one group share the readings; empty: this one takes all.",
    )
    new_meters_per_hour: int = Field(
        1000, ge=0, description="How many meter ids never seen before to accept in an hour."
    )
    keep_readings_days: Days = Field(
        30, description="For how many days readings are kept as they came; 0: for ever."
    )
    keep_five_minutes_days: Days = Field(
        90, description="The same for roll-ups of 5 minutes; 0: for ever."
    )
    keep_hourly_days: Days = Field(0, description="The same for those of an hour; 0: for ever.")
    keep_daily_days: Days = Field(0, description="The same for those of a day; 0: for ever.")
    archive_directory: Path | None = Field(
        None,
        description="Readings go into Parquet files here before they are deleted; empty: nowhere.",
    )
    timezone: Zone | None = Field(
        None, description="Time zone of days and prices, as in Europe/Berlin; empty: the machine's."
    )

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of days that a person names."""
        return self.timezone or local_zone()

    @property
    def keep(self) -> Keep:
        """For how long each level of the history is kept."""
        return Keep(
            self.keep_readings_days,
            self.keep_five_minutes_days,
            self.keep_hourly_days,
            self.keep_daily_days,
        )

    def archive(self) -> Archive | None:
        """Return the archive, if one is wanted; raises SettingsError where that cannot be."""
        return Archive(self.archive_directory) if self.archive_directory else None
