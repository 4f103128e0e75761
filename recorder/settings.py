"""Settings of the recorder."""

from pydantic import Field

from contract.settings import ServiceName, Settings


class RecorderSettings(Settings):
    """Where readings are kept, and what this recorder is called."""

    database_url: str = Field(
        "sqlite:///energy_meters.db",
        description="Where readings are kept: sqlite:///FILE or postgresql://HOST/NAME.",
    )
    recorder_name: ServiceName = Field(
        "main", description="Name of this recorder; its session at the broker goes by it."
    )
    new_meters_per_hour: int = Field(
        1000, ge=0, description="How many meter ids never seen before to accept in an hour."
    )
