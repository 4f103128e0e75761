"""Start `make run`, wait for the first page and the first reading, and stop it with Ctrl-C.

Needs only the standard library, because it runs in a fresh set-up.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

LONGEST_S = 60
PORTS = int(os.environ.get("HTTP_PORT", "8000")), int(os.environ.get("MQTT_PORT", "1883"))
URL = f"http://127.0.0.1:{PORTS[0]}"


def main() -> None:
    """Print how long it took; exit with 1 if something does not arrive in time."""
    began = time.monotonic()
    run = subprocess.Popen(["make", "run"], start_new_session=True)
    try:
        for path, wanted in (("/", b"<html"), ("/readings/", b'"meter_id"')):
            body = _wait_for(path, wanted, run)
            _print(f"GET {path} responds after {time.monotonic() - began:.1f} s")
        _print(f"a reading: {json.dumps(json.loads(body))[:160]}…")
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGINT)
        code = run.wait(30)
    _print(f"stopped by Ctrl-C, exit code {code}")
    if left := [port for port in PORTS if _listens(port)]:
        sys.exit(f"something still listens on {left}")


def _wait_for(path: str, wanted: bytes, run: "subprocess.Popen[bytes]") -> bytes:
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline and run.poll() is None:
        try:
            with urllib.request.urlopen(URL + path, timeout=5) as answer:
                body = answer.read()
            if wanted in body:
                return body
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    sys.exit(f"GET {path} did not answer with {wanted!r} within {LONGEST_S} s")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _print(text: str) -> None:
    sys.stdout.write(f"-- {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
