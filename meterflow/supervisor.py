"""Supervisor of the parts: starts them, prints their logs, reports an end, stops them all.

One loop over their pipes: asyncio would do the same with 6 MB more, for as long as the parts run.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TextIO

from meterflow.parts import Part
from service.escaping import escaped

STOP_S = 8.0
ENDED_S = 1.0
"""Seconds until the end of a part is noticed at the latest."""
LONGEST_LINE = 1_000_000
STOP_LAST = {"broker", "simulator"}
_COLOURS = {
    "meterflow": 1,
    "broker": 35,
    "simulator": 33,
    "gateway_bridge": 36,
    "recorder": 32,
    "web": 34,
    "demo": 33,
}
_WIDTH = max(map(len, _COLOURS))
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Program:
    """A part that runs, and what it has printed of a line."""

    def __init__(self, part: Part, environment: Mapping[str, str]) -> None:
        self.part = part
        # In a process group that the terminal's Ctrl-C does not reach.
        self.process = subprocess.Popen(
            [sys.executable, *part.arguments],
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=_end_with_parent,
        )
        assert self.process.stdout
        self.pipe = self.process.stdout
        self._begun = b""

    def lines(self) -> Iterator[str]:
        """Read once, and yield the lines that are complete by then, except those too long."""
        received = os.read(self.pipe.fileno(), 65536)
        *whole, self._begun = (self._begun + received).split(b"\n")
        if len(self._begun) > LONGEST_LINE:
            self._begun = b""
        if not received:
            self.pipe.close()
            whole = [self._begun] if self._begun else []
        for line in whole:
            if len(line) <= LONGEST_LINE:
                yield line.decode("utf-8", "replace").rstrip()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended and all that it printed has been read."""
        return self.pipe.closed and self.process.poll() is not None


class Supervisor:
    """Runs parts as processes."""

    def __init__(self, output: TextIO) -> None:
        self.environment: Mapping[str, str] = {}
        """What it adds to the environment of the parts that it starts."""
        self._output = output
        self._colour = output.isatty()
        self._running: dict[str, Program] = {}
        self.stopping = False
        """Whether `stop` has been called."""
        self._selector = selectors.DefaultSelector()
        self._signals, self._signalled = socket.socketpair()
        self._signalled.setblocking(False)
        self._selector.register(self._signals, selectors.EVENT_READ)

    def print(self, line: str, name: str = "meterflow") -> None:
        """Print a line of the log of a part."""
        head = f"{name:<{_WIDTH}} |"
        if self._colour:
            head = f"\x1b[{_COLOURS.get(name, 0)}m{head}\x1b[0m"
        with contextlib.suppress(BrokenPipeError):  # the reader has gone: no reason to stop
            print(head, escaped(line), file=self._output, flush=True)

    def runs(self, name: str) -> bool:
        """Return whether a part has been started and has not ended."""
        return name in self._running

    def handle_signals(self) -> None:
        """Stop on Ctrl-C, SIGTERM or SIGHUP."""
        # A handler must not print: it may interrupt a print. It wakes the loop, which does.
        signal.set_wakeup_fd(self._signalled.fileno())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def start(self, part: Part) -> None:
        """Start a part."""
        program = self._running[part.name] = Program(part, self.environment)
        self._selector.register(program.pipe, selectors.EVENT_READ, program)

    def follow(self, seconds: float) -> bool:
        """Print what the parts log in so many seconds at most; return whether anything came."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            if key.data:
                self._print_lines(key.data)
            else:
                for _ in self._signals.recv(16):
                    self.stop()
        for program in [each for each in self._running.values() if each.has_ended]:
            self._forget(program)
        return bool(ready)

    def wait(self) -> bool:
        """Wait until `stop` is called; return False if all parts end before."""
        while self._running and not self.stopping:
            self.follow(ENDED_S)
        return self.stopping

    def stop_all(self) -> None:
        """Stop all parts: first those that publish a last message, then the broker."""
        self._end(name for name in self._running if name not in STOP_LAST)
        self._end(self._running)
        self._selector.close()
        signal.set_wakeup_fd(-1)
        for each in (self._signals, self._signalled):
            each.close()

    def stop(self) -> None:
        """Handle Ctrl-C or SIGTERM; a second one kills the parts at once."""
        if self.stopping:
            for program in self._running.values():
                program.signal(signal.SIGKILL)
        else:
            self.print("stopping")
        self.stopping = True

    def _end(self, names: Iterable[str]) -> None:
        ending = [self._running[name] for name in names]
        for program in ending:
            program.signal(signal.SIGTERM)
        self._follow_until_ended(ending, STOP_S)
        for program in ending:
            if program.process.poll() is None:
                self.print(f"{program.part.name} did not stop within {STOP_S:.0f} s: killed")
                program.signal(signal.SIGKILL)
        self._follow_until_ended(ending, STOP_S)

    def _follow_until_ended(self, ending: list[Program], seconds: float) -> None:
        ends_s = time.monotonic() + seconds
        while not all(each.has_ended for each in ending) and time.monotonic() < ends_s:
            self.follow(0.05)

    def _print_lines(self, program: Program) -> None:
        pipe = program.pipe.fileno()
        for line in program.lines():
            self.print(line, program.part.name)
        if program.pipe.closed:
            self._selector.unregister(pipe)

    def _forget(self, program: Program) -> None:
        part = program.part
        del self._running[part.name]
        if not (self.stopping or (part.ends and program.process.returncode == 0)):
            self.print(
                f"{part.name} ended ({_reason(program.process.returncode)}); the others continue; "
                f"start it again with: {part.command(self.environment)}"
            )


def _reason(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _end_with_parent() -> None:
    if _libc is not None:  # so that the parts end even if this process is killed
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
