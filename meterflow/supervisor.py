"""Supervisor of the parts: starts them, prints their logs, reports an end, stops them all."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from typing import TextIO

from meterflow.parts import Part

STOP_S = 8.0
LONGEST_LINE = 1_000_000
STOP_LAST = {"broker", "simulator"}
_COLOURS = {
    "meterflow": 1,
    "broker": 35,
    "simulator": 33,
    "gateway_bridge": 36,
    "recorder": 32,
    "web": 34,
}
_WIDTH = max(map(len, _COLOURS))
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Supervisor:
    """Runs parts as processes."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._colour = output.isatty()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._followers: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._nothing_runs = asyncio.Event()

    def print(self, line: str, name: str = "meterflow") -> None:
        """Print a line of the log of a part."""
        head = f"{name:<{_WIDTH}} |"
        if self._colour:
            head = f"\x1b[{_COLOURS.get(name, 0)}m{head}\x1b[0m"
        with contextlib.suppress(BrokenPipeError):  # the reader has gone: no reason to stop
            print(head, line, file=self._output, flush=True)

    def runs(self, name: str) -> bool:
        """Return whether a part has been started and has not ended."""
        return name in self._running

    async def start(self, part: Part) -> None:
        """Start a part, in a process group that the terminal's Ctrl-C does not reach."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *part.arguments,
            env={**os.environ, **part.environment, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LONGEST_LINE,
            process_group=0,
            preexec_fn=_end_with_parent,
        )
        self._running[part.name] = process
        self._nothing_runs.clear()
        follower = asyncio.create_task(self._follow(part, process), name=part.name)
        self._followers.append(follower)

    async def wait(self) -> bool:
        """Wait for `stop`; return False if all parts end before."""
        waits = [asyncio.ensure_future(e.wait()) for e in (self._stopping, self._nothing_runs)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for waiting in waits:
            waiting.cancel()
        return self._stopping.is_set()

    async def stop_all(self) -> None:
        """Stop all parts: first those that publish a last message, then the broker."""
        await self._end(name for name in self._running if name not in STOP_LAST)
        await self._end(self._running)
        await asyncio.gather(*self._followers)

    def stop(self) -> None:
        """Handle Ctrl-C or SIGTERM; a second one kills the parts at once."""
        if self._stopping.is_set():
            for process in self._running.values():
                _signal(process, signal.SIGKILL)
        else:
            self.print("stopping")
        self._stopping.set()

    async def _end(self, names: Iterable[str]) -> None:
        ending = {name: self._running[name] for name in names}
        for process in ending.values():
            _signal(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(
                asyncio.gather(*(process.wait() for process in ending.values())), STOP_S
            )
        for name, process in ending.items():
            if process.returncode is None:
                self.print(f"{name} did not stop within {STOP_S:.0f} s: killed")
                _signal(process, signal.SIGKILL)

    async def _follow(self, part: Part, process: asyncio.subprocess.Process) -> None:
        async for line in _lines(process):
            self.print(line, part.name)
        code = await process.wait()
        del self._running[part.name]
        if not self._stopping.is_set():
            self.print(
                f"{part.name} ended ({_reason(code)}); the others continue; "
                f"start it again with: {part.command}"
            )
        if not self._running:
            self._nothing_runs.set()


async def _lines(process: asyncio.subprocess.Process) -> AsyncIterator[str]:
    assert process.stdout
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:  # a line longer than the limit: asyncio has thrown it away
            continue
        if not line:
            return
        yield line.decode("utf-8", "replace").rstrip()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _reason(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _end_with_parent() -> None:
    if _libc is not None:  # so that the parts end even if this process is killed
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
