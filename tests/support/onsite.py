"""A simulated site in a thread, and the commands a person runs against it, as they print."""

import asyncio
import contextlib
import io
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import pytest

from gateway_bridge.__main__ import main
from simulator.simulator import Simulator

EVENING_S = 1_705_168_800.0
"""A Saturday evening without sun: house and heat pump draw on all phases."""


class Site:
    """A simulator that runs beside the test; what is done to it is done in its own loop."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="site")
        self.simulator: Simulator

    def __enter__(self) -> Self:
        self._thread.start()

        async def start() -> Simulator:
            simulator = Simulator(**self._options)
            await simulator.start()
            return simulator

        self.simulator = self._wait(asyncio.run_coroutine_threadsafe(start(), self._loop))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._wait(asyncio.run_coroutine_threadsafe(self.simulator.stop(), self._loop))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> str:
        """Where the gateway listens."""
        return f"127.0.0.1:{self.simulator.port}"

    def do(self, act: Callable[[Simulator], object]) -> None:
        """Have something done to the simulator."""

        async def acting() -> None:
            act(self.simulator)

        self._wait(asyncio.run_coroutine_threadsafe(acting(), self._loop))

    def fault(self, unit: int | None, name: str, *arguments: float, **options: Any) -> None:
        """Switch a fault on."""
        self.do(lambda simulator: simulator.fault(unit, name, *arguments, **options))

    def mend(self) -> None:
        """Switch all faults off."""
        self.do(lambda simulator: [simulator.mend(unit) for unit in (None, *simulator.meters)])

    @staticmethod
    def _wait(future: "Future[Any]") -> Any:
        return future.result(10)


class Said:
    """What a command has printed, and how it ended; `text` is without line breaks."""

    def __init__(self, code: object, output: str, complaint: str) -> None:
        self.code, self.output, self.complaint = code, output, complaint
        self.text = re.sub(r"\s+", " ", output)


def command(*words: str, directory: Path, **settings: str) -> Said:
    """Run a command as `python -m gateway_bridge` would, and return what it has said."""
    output, complaint = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(directory),
        mock.patch.dict(os.environ, settings),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(complaint),
        pytest.raises(SystemExit) as ended,
    ):
        main(words)
    return Said(ended.value.code, output.getvalue(), complaint.getvalue())
