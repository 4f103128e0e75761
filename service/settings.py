"""Settings: read from the environment or `.env` once at start, checked, passed as arguments."""

import ipaddress
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv.parser import Binding, parse_stream
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as PydanticSettingsError

from contract.validation import plain
from service.errors import SettingsError
from service.redaction import redacted_url
from service.spelling import closest

logger = logging.getLogger(__name__)

Port = Annotated[int, Field(ge=1, le=65535)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


def _no_blank(value: str) -> str:
    if not value.strip() or re.search(r"\s", value):
        raise ValueError("should be a host name or an address, without spaces")
    return value


Host = Annotated[str, AfterValidator(_no_blank)]


class Settings(BaseSettings):
    """The settings of every service: the broker and the log."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, case_sensitive=False
    )

    mqtt_host: Host = Field("127.0.0.1", description="Host name or address of the MQTT broker.")
    mqtt_port: Port = Field(1883, description="Port of the MQTT broker.")
    mqtt_user: str | None = Field(None, description="User name at the broker (empty = none).")
    mqtt_password: SecretStr | None = Field(None, description="Password of the user.")
    mqtt_tls: bool = Field(False, description="Connect to the broker with TLS: true or false.")
    mqtt_ca_file: Path | None = Field(
        None, description="CA certificates to trust for TLS (empty = those of the system)."
    )
    log_level: LogLevel = Field(
        "INFO", description="Lowest level to log: DEBUG, INFO, WARNING or ERROR."
    )

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Return the settings of this process; raises SettingsError naming each wrong one."""
        try:
            _check_lines(Path(".env"))
            settings = cls(**{name: v for name, v in overrides.items() if v is not None})
        except ValidationError as error:
            raise SettingsError("\n".join(_problems(error))) from error
        except UnicodeDecodeError as error:
            raise SettingsError(".env: should be text in UTF-8") from error
        except OSError as error:
            raise SettingsError(f".env: cannot be read: {error.strerror}") from error
        except PydanticSettingsError as error:
            raise SettingsError(str(error)) from error
        return settings

    def summary(self) -> str:
        """Return the settings that differ from their defaults, for one line of the log."""
        changed = {
            name: value
            for name, value in self
            if value != type(self).model_fields[name].get_default(call_default_factory=True)
        }
        pairs = (f"{name.upper()}={shown(value)}" for name, value in changed.items())
        return ", ".join(pairs) or "defaults"


def shown(value: object) -> str:
    """Return a value as it stands in `.env`; - for none, *** for a secret."""
    if value is None:
        return "-"
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else redacted_url(str(value))


def page_url(host: str, port: int) -> str:
    """Return the address to open in a browser on this machine, for a listener at `host`."""
    everywhere = host in {"127.0.0.1", "0.0.0.0", "::", "::1", "localhost"}
    name = "localhost" if everywhere else host
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether a listener at `host` is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def misspelt(given: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """Return the unknown names, each with the known name that it probably stands for."""
    known = list(known)
    wrong: dict[str, str] = {}
    for name in given:
        if name.upper() not in known and (meant := closest(name.upper(), known, likeness=0.85)):
            wrong[name] = meant
    return wrong


def names_in_env_file(path: Path = Path(".env")) -> list[str]:
    """Return the names that a `.env` file sets; none without such a file, or if it is no text."""
    try:
        return [line.key for line in _lines(path) if line.key]
    except (OSError, UnicodeDecodeError):
        return []  # the settings report it


def _lines(path: Path) -> list[Binding]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8-sig") as file:
        return list(parse_stream(file))


def _check_lines(path: Path) -> None:
    """Raise SettingsError for lines that set nothing; what they hold may be a secret."""
    wrong = []
    for line in _lines(path):
        if line.error:  # the blank lines before it are part of it
            text = line.original.string
            blank = text[: len(text) - len(text.lstrip())].count("\n")
            number = line.original.line + blank
            wrong.append(f"{path}, line {number}: should be NAME=value, or a # first")
    if wrong:
        raise SettingsError("\n".join(wrong))


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for item in error.errors(include_url=False):
        name = str(item["loc"][0]).upper() if item["loc"] else ""
        text = plain(item)
        secret = "PASSWORD" in name or "TOKEN" in name
        got = "" if secret else f" (got {redacted_url(repr(item['input'])):.80})"
        problems.append(f"{name}: {text}{got}" if name else text)
    return problems
