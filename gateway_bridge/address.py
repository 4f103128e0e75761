"""Addresses of RS485 lines: the TCP port of a gateway, or a serial adapter of this machine."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

MODBUS_PORT = 502
BAUDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)

Parity = Literal["N", "E", "O"]
_PARITIES: dict[str, Parity] = {"none": "N", "even": "E", "odd": "O", "n": "N", "e": "E", "o": "O"}
_SERIAL_KEYS = ("baud", "parity", "stop")


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """Host and port of a gateway."""

    host: str
    port: int = MODBUS_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SerialLine:
    """An RS485 adapter of this machine and its line parameters; always 8 data bits."""

    path: str
    baud: int = 9600
    parity: Parity = "N"
    stop_bits: int = 1

    @property
    def bits(self) -> int:
        """Bits per character on the wire."""
        return 1 + 8 + (self.parity != "N") + self.stop_bits

    def __str__(self) -> str:
        return self.path


Address = TcpAddress | SerialLine


def parse_address(text: str, port: int = MODBUS_PORT) -> Address:
    """Parse `host`, `host:port` or `serial:///dev/ttyUSB0?baud=9600`.

    `port` applies if the text has none. Raises ValueError with the expected form.
    """
    if text.startswith("serial:"):
        return _serial(text)
    if text.startswith("/dev/"):
        return SerialLine(text)
    text = text.removeprefix("tcp://")
    host, given = _split(text)
    if not host or any(c.isspace() or c in "/?#@" for c in text):
        raise ValueError("should be a host, host:port, or serial:///dev/ttyUSB0?baud=9600")
    if given is not None:
        if not given.isascii() or not given.isdigit() or not 1 <= int(given) <= 65535:
            raise ValueError(f"port {given!r} should be a number from 1 to 65535")
        port = int(given)
    return TcpAddress(host, port)


def _split(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":") if rest else None
    if text.count(":") != 1:  # none, or an IPv6 address without brackets
        return text, None
    host, _, port = text.partition(":")
    return host, port


def _serial(text: str) -> SerialLine:
    parts = urlsplit(text)
    path = parts.netloc + parts.path
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = [key for key in given if key not in _SERIAL_KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]!r} should be one of {', '.join(_SERIAL_KEYS)}")
    if not path:
        raise ValueError("has no device; give one, for example serial:///dev/ttyUSB0?baud=9600")
    baud, stop = given.get("baud", "9600"), given.get("stop", "1")
    if baud not in map(str, BAUDS):
        raise ValueError(f"baud {baud!r} should be one of {', '.join(map(str, BAUDS))}")
    if stop not in {"1", "2"}:
        raise ValueError(f"stop {stop!r} should be 1 or 2")
    parity = given.get("parity", "none").lower()
    if parity not in _PARITIES:
        raise ValueError(f"parity {parity!r} should be none, even or odd")
    return SerialLine(path, int(baud), _PARITIES[parity], int(stop))
