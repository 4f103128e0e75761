"""A simulated site in a thread, and the output of the commands that run against it."""

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
    """A simulator in a thread of its own; changes to it run in its event loop."""

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
        """Address of the gateway."""
        return f"127.0.0.1:{self.simulator.port}"

    def do(self, act: Callable[[Simulator], object]) -> None:
        """Call a function with the simulator, in its event loop."""

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


class Result:
    """The exit code and the output of a command; `text` is the output without line breaks."""

    def __init__(self, code: object, output: str, errors: str) -> None:
        self.code, self.output, self.errors = code, output, errors
        self.text = re.sub(r"\s+", " ", output)


def command(*words: str, directory: Path, **settings: str) -> Result:
    """Run a command as `python -m gateway_bridge` does, and return its result."""
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(directory),
        mock.patch.dict(os.environ, settings),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
        pytest.raises(SystemExit) as ended,
    ):
        main(words)
    return Result(ended.value.code, output.getvalue(), errors.getvalue())
