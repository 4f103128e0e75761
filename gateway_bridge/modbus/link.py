"""Links: the way to a line, over TCP or an adapter of this machine, and why there is none."""

import asyncio
import contextlib
import errno
import socket
import threading

from gateway_bridge.address import SerialLine, TcpAddress
from gateway_bridge.modbus.errors import GatewayError


class NotReached(GatewayError):
    """Raised where there is no link; `why` is one of a few fixed words.

    Of a gateway: name, silent, refused, closed, unreachable.
    Of a device: missing, forbidden, taken, other.
    """

    def __init__(self, why: str, text: str) -> None:
        self.why = why
        super().__init__(text)


async def resolve(address: TcpAddress) -> str:
    """Return the address of a host, asked in a thread that does not hold up the process's end."""
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

    def ask() -> None:
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

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    return await found


def keep_alive(connection: socket.socket) -> None:
    """Let the kernel notice a gateway that has gone without a word."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def not_connected(error: OSError, timeout_s: float) -> NotReached:
    """Return in words why a gateway's port cannot be connected to."""
    if isinstance(error, ConnectionRefusedError):
        return NotReached(
            "refused", "refuses the connection; is the port right, and its Modbus TCP server on?"
        )
    if isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return NotReached("closed", "breaks the connection at once; is another client connected?")
    if isinstance(error, TimeoutError):
        return NotReached(
            "silent",
            f"does not answer within {timeout_s:g} s; is the address right, is it powered?",
        )
    if isinstance(error, socket.gaierror):
        return NotReached("name", "has no address: there is no such host name")
    return NotReached("unreachable", f"cannot be reached: {error.strerror or error}")


def not_opened(error: OSError | ValueError, line: SerialLine) -> NotReached:
    """Return in words why a serial device cannot be opened."""
    number = getattr(error, "errno", None)
    if number == errno.ENOENT:
        return NotReached("missing", "is not there; is the adapter plugged in? See ls /dev/tty*")
    if number in (errno.EACCES, errno.EPERM):
        return NotReached(
            "forbidden", "may not be opened; add this user to the group dialout and log in anew"
        )
    if number in (errno.EAGAIN, errno.EBUSY):
        return NotReached("taken", "is in use by another program; stop that one first")
    return NotReached("other", f"cannot be opened as a serial line of {line.baud} baud: {error}")
