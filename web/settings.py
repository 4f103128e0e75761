"""Settings of the web service."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from service.settings import Host, Port, Settings
from service.zones import Zone


def _listed(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
    return value


class WebSettings(Settings):
    """Address of the pages, place of the history, and other origins that may read."""

    http_host: Host = Field(
        "127.0.0.1",
        description="Address to listen on (0.0.0.0 = reachable from the whole network).",
    )
    http_port: Port = Field(8000, description="Port of the pages and the REST interface.")
    database_url: str = Field(
        "sqlite:///energy_meters.db",
        description="Database of the history: sqlite:///FILE or postgresql://HOST/NAME.",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = Field(
        ("http://localhost:3000", "http://localhost:8080"),
        description="Origins of other front ends that may read and post, separated by commas.",
    )
    timezone: Zone | None = Field(
        None,
        description="Time zone of days and prices, such as Europe/Berlin (default: the system's).",
    )
    tariffs_file: Path = Field(
        Path("tariffs.toml"),
        description="File of energy prices; without it, no costs are computed.",
    )

    @property
    def url(self) -> str:
        """The address to open in a browser on this machine."""
        everywhere = self.http_host in {"127.0.0.1", "0.0.0.0", "::", "::1", "localhost"}
        host = "localhost" if everywhere else self.http_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.http_port}"
