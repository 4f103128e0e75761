"""Link: the way to a line, over TCP or a serial adapter, and the reason where there is none."""

import asyncio
import contextlib
import errno
import socket
import threading

from gateway_bridge.address import SerialLine, TcpAddress
from gateway_bridge.modbus.errors import GatewayError


class NotReached(GatewayError):
    """Raised where there is no link; `why` is a word for the reason.

    For a gateway: name, silent, refused, closed or unreachable. For a serial device: missing,
    forbidden, taken or other.
    """

    def __init__(self, why: str, text: str) -> None:
        self.why = why
        super().__init__(text)


async def resolve(address: TcpAddress) -> str:
    """Return the address of a host, found in a thread that does not delay the process's end."""
    host = address.host
    with contextlib.suppress(OSError):
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
        return host
    loop = asyncio.get_running_loop()
    found: asyncio.Future[str] = loop.create_future()

    def settle(answer: str | None, error: OSError | None) -> None:
        if found.done():
            return
        if error:
            found.set_exception(error)
        else:
            found.set_result(answer or "")

    def resolve() -> None:
        answer: str | None = None
        trouble: OSError | None = None
        try:
            answers = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)
            answer = str(answers[0][4][0])
        except UnicodeError:
            trouble = socket.gaierror(socket.EAI_NONAME, "no such name")
        except OSError as error:
            trouble = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, answer, trouble)

    threading.Thread(target=resolve, name=f"resolve {host}", daemon=True).start()
    return await found


def keep_alive(connection: socket.socket) -> None:
    """Have the kernel find out when the gateway is gone without closing the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def not_connected(error: OSError, timeout_s: float) -> NotReached:
    """Return the reason why the port of a gateway cannot be connected to."""
    if isinstance(error, ConnectionRefusedError):
        text = "refuses the connection; check the port, and that its Modbus TCP server is on"
        return NotReached("refused", text)
    if isinstance(error, ConnectionResetError | ConnectionAbortedError):
        text = "closes the connection at once; check whether another client is connected"
        return NotReached("closed", text)
    if isinstance(error, TimeoutError):
        text = f"does not respond within {timeout_s:g} s; check the address and the power supply"
        return NotReached("silent", text)
    if isinstance(error, socket.gaierror):
        return NotReached("name", "has an unknown host name; check its spelling")
    return NotReached("unreachable", f"cannot be reached: {error.strerror or error}")


def not_opened(error: OSError | ValueError, line: SerialLine) -> NotReached:
    """Return the reason why a serial device cannot be opened."""
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        text = "does not exist; check that the adapter is plugged in (ls /dev/tty*)"
        return NotReached("missing", text)
    if number in (errno.EACCES, errno.EPERM):
        text = (
            "cannot be opened (no permission); add this user to the group dialout and log in again"
        )
        return NotReached("forbidden", text)
    if number in (errno.EAGAIN, errno.EBUSY):
        return NotReached("taken", "is in use by another program; stop that program first")
    return NotReached("other", f"cannot be opened as a serial line of {line.baud} baud: {error}")
