"""Two web services behind nginx, for more clients than one process serves."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.support.javascript import JavaScript, node_modules
from tests.support.parts import ROOT, Part, free_port, listens, require, wait_until
from tests.web.test_live import Site

CLIENTS = 6
CONFIGURATION = """
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    log_format upstream "$upstream_addr";
    access_log {directory}/access.log upstream;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $meterflow_connection {{ default upgrade; "" ""; }}
    {upstream}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://meterflow;
            proxy_http_version 1.1;
            proxy_set_header Host       $http_host;
            proxy_set_header Upgrade    $http_upgrade;
            proxy_set_header Connection $meterflow_connection;
        }}
    }}
}}
"""


class Several(Site):
    """A broker, a recorder, two web services, and nginx before them."""

    def __init__(self, directory: Path, stack: ExitStack, method: str) -> None:
        super().__init__(directory, stack)
        ports = {"8000": self.http, "8001": free_port()}
        self.second = self.start("web", HTTP_PORT=ports["8001"])
        wait_until(lambda: is_ready(ports["8001"]), what="the second web service")
        self.proxy = free_port()
        self.log = directory / "access.log"
        text = CONFIGURATION.format(
            directory=directory, port=self.proxy, upstream=upstream(method, ports)
        )
        (directory / "nginx.conf").write_text(text)
        command = (require("nginx"), "-c", str(directory / "nginx.conf"), "-e", "stderr")
        stack.enter_context(Part(*command, directory=directory))
        wait_until(lambda: listens(self.proxy), what="nginx")

    def backends(self) -> list[str]:
        """Return which service served each of the requests that have ended."""
        return self.log.read_text().split()


def is_ready(port: int) -> bool:
    """Return whether a web service receives what is published."""
    try:
        urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30).close()
    except HTTPError as error:
        error.close()
        return False
    except OSError:
        return False
    return True


def upstream(method: str, ports: dict[str, int]) -> str:
    """Return the lines of docs/scale-out.md for two services, with one of its methods."""
    page = (ROOT / "docs" / "scale-out.md").read_text()
    [found] = re.findall(r"^upstream meterflow \{\n.*?^\}", page, re.DOTALL | re.MULTILINE)
    assert "ip_hash;" in found
    found = found.replace("ip_hash;", method)
    for documented, port in ports.items():
        found = found.replace(f":{documented};", f":{port};")
    return found


@pytest.fixture(params=["ip_hash;", ""], ids=["by address", "in turn"])
def several(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Several]:
    with ExitStack() as stack:
        yield Several(tmp_path, stack, request.param)


def test_every_client_of_two_services_receives_every_reading(
    several: Several, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    in_turn = request.node.callspec.id == "in turn"
    options = {"transports": ["websocket"]} if in_turn else {}
    modules = node_modules(request.config.cache)
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                JavaScript.run(
                    modules,
                    tmp_path,
                    "socket_io.cjs",
                    f"http://127.0.0.1:{several.proxy}",
                    options | {"localAddress": f"127.0.{n}.1"},  # ip_hash ignores the last part
                    ["meters/1/reading"],
                )
            )
            for n in range(1, CLIENTS + 1)
        ]
        for client in clients:
            client.wait_for_event("subscribed")
        for n in range(30):
            several.read("1", n)
        for client in clients:
            received = client.wait_for_event("message", 30)
            assert [each["payload"]["power"] for each in received] == list(range(30))
            assert client.values("connect_error") == []
            if not in_turn:
                client.wait_for_event("upgrade")

    wait_until(lambda: len(several.backends()) >= CLIENTS)
    assert len(set(several.backends())) == 2, "only one of the services had clients"
