"""The path of a reading: the modules whose code runs between an answer's bytes and the broker."""

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from types import CodeType, FrameType

from gateway_bridge.polling.poller import GatewayPoller, Line
from gateway_bridge.publishing.publisher import Publisher
from gateway_bridge.settings import BridgeSettings
from simulator.simulator import Simulator
from tests.support.parts import ROOT, free_port
from tests.support.polling import FAST, gateway_at, until

ROOMS = {"contract", "gateway_bridge", "service"}
MOST = 9


class Trace:
    """Collects the modules that run from the arrival of bytes to the first message sent."""

    def __init__(self) -> None:
        self.paths: list[list[str]] = []
        self._modules: list[str] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if code.co_name == "data_received" and "pymodbus" in code.co_filename:
            self._modules = []
        module = self._module(code)
        if self._modules is None or not module:
            return
        if module not in self._modules:
            self._modules.append(module)
        if (module, code.co_name) == ("service/mqtt.py", "publish_with"):
            self.paths.append(self._modules)
            self._modules = None

    def _module(self, code: CodeType) -> str:
        path = Path(code.co_filename)
        if not path.is_relative_to(ROOT):
            return ""
        relative = path.relative_to(ROOT)
        return str(relative) if relative.parts[0] in ROOMS else ""


def traced(tmp_path: Path) -> list[list[str]]:
    """Return the paths of some readings of a meter behind Modbus TCP."""
    trace = Trace()

    async def story() -> None:
        async with Simulator((1,), timing=FAST) as simulator:
            settings = BridgeSettings(mqtt_port=free_port(), journal_file=tmp_path / "journal.db")
            line = Line(gateway_at(simulator))
            publisher = Publisher(settings, [line])
            publisher._client._up.set()  # as if there were a broker
            task = asyncio.create_task(GatewayPoller(line, publisher).run())
            state = line.meters["1"].state
            await until(lambda: state.readings > 2)
            with trace.running():
                await until(lambda: state.readings > 5)
            task.cancel()

    with chdir(tmp_path):
        asyncio.run(story())
    return trace.paths


def test_a_reading_crosses_at_most_nine_modules_and_the_page_names_them(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.split("## The path of a reading\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| \d+ \| `([\w/]+\.py)`", section, re.MULTILINE)

    paths = traced(tmp_path)

    assert len(paths) >= 3
    assert all(path == named for path in paths)
    assert len(named) <= MOST
