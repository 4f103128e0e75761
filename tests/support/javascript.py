"""Programs of Node.js with the packages of tests/web/javascript, installed from their lock file."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.parts import ROOT, Part, require, wait_until

SOURCES = ROOT / "tests" / "web" / "javascript"
_FILES = ("package.json", "package-lock.json")


def node_modules(cache: pytest.Cache) -> Path:
    """Return the folder of the packages; the first call installs them into pytest's cache.

    Where that is impossible the test is skipped with a reason; under CI=true it fails.
    """
    npm = require("npm")
    require("node")
    lock = hashlib.sha256((SOURCES / _FILES[1]).read_bytes()).hexdigest()[:16]
    installed = cache.mkdir("npm") / lock
    if not installed.exists():
        _install(npm, installed)
    return installed / "node_modules"


def _install(npm: str, place: Path) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as draft:
        for name in _FILES:
            shutil.copy(SOURCES / name, draft)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=draft, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = f"npm ci fails: {done.stderr.strip()[:300]}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        if not place.exists():  # a test beside this one may have been quicker
            shutil.copytree(draft, f"{draft}-whole", symlinks=True)
            Path(f"{draft}-whole").replace(place)


class JavaScript(Part):
    """A script of tests/web/javascript, which prints a line of JSON per event."""

    @classmethod
    def run(cls, modules: Path, directory: Path, script: str, *arguments: object) -> Self:
        """Start a script; arguments that are not text are passed as JSON."""
        texts = [each if isinstance(each, str) else json.dumps(each) for each in arguments]
        command = (require("node"), str(SOURCES / script), *texts)
        return cls(*command, directory=directory, NODE_PATH=modules)

    def values(self, event: str) -> list[Any]:
        """Return the values of an event so far, in order."""
        lines = [json.loads(line) for line in self.output.splitlines() if line.startswith("{")]
        return [line.get("value") for line in lines if line["event"] == event]

    def wait_for_event(self, event: str, count: int = 1, timeout_s: float = 20) -> list[Any]:
        """Return the values of an event once there are so many."""

        def found() -> list[Any]:
            values = self.values(event)
            return values if len(values) >= count else []

        return wait_until(found, timeout_s, f"{event} of {self.output[-300:]}")
