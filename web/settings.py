"""Settings of the web service."""

import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from service.errors import SettingsError
from service.settings import Host, Port, Settings, is_loopback, page_url
from service.zones import Zone


def _listed(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
    return value


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", value):
        raise ValueError("should be host names, without http:// and without a port")
    return value.lower()


class WebSettings(Settings):
    """Address of the pages, who may use them, and the place of the history."""

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
        description="Origins of other front ends that may read, and post with a token, separated "
        "by commas.",
    )
    web_users_file: Path = Field(
        Path("state/web-users"),
        description="File of users and tokens; 'meterflow web add-user NAME' adds one.",
    )
    web_open: Literal["no", "read"] = Field(
        "no", description="Whether the network may read without a login: no or read."
    )
    web_hosts: Annotated[
        tuple[Annotated[str, AfterValidator(_host_name)], ...], NoDecode, BeforeValidator(_listed)
    ] = Field(
        (),
        description="Further host names of this service, separated by commas; known are addresses, "
        "localhost, and the name of the machine, also with .local.",
    )
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_listed)
    ] = Field(
        (),
        description="Addresses or networks of reverse proxies that may name the address of their "
        "client, separated by commas.",
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
        return page_url(self.http_host, self.http_port)


def check_exposure(settings: WebSettings) -> None:
    """Raise SettingsError where a network would reach the service, and nobody could log in."""
    host = settings.http_host
    if is_loopback(host) or settings.web_open == "read" or _has_content(settings.web_users_file):
        return
    raise SettingsError(
        f"HTTP_HOST {host} is reachable from the network, but no users are configured: run "
        "'meterflow web add-user NAME' first, or set WEB_OPEN=read, so that anyone there may read "
        "without a login, or HTTP_HOST=127.0.0.1"
    )


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
