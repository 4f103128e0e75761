"""A house from its meters file to /site/: gateway, bridge, recorder and web as real processes."""

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.support.parts import Part, free_port, listens, wait_until

METERS = """
[[gateway]]
address = "127.0.0.1:{gateway}"
interval = 0.5

[[gateway.meter]]
unit = 1
id = "main"
name = "Main meter"
role = "grid"
billing = "netted"

[[gateway.meter]]
unit = 2
id = "pump"
name = "Heat pump"
role = "consumer"
parent = "main"
"""


def test_roles_of_the_meters_file_shape_the_house_and_its_live_power(tmp_path: Path) -> None:
    broker, gateway, http = (free_port() for _ in range(3))
    (tmp_path / "meters.toml").write_text(METERS.format(gateway=gateway))

    def house() -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{http}/site/", timeout=30) as answer:
            return dict(json.load(answer))

    with ExitStack() as stack:
        for module, arguments, settings in (
            ("broker", (), {}),
            ("simulator", (f"--port={gateway}", "--units=1,2", "--baud=0"), {}),
            ("gateway_bridge", (), {}),
            ("recorder", (), {}),
            ("web", (), {"HTTP_PORT": http}),
        ):
            ports = {"MQTT_PORT": broker, **settings}
            stack.enter_context(Part.module(module, *arguments, directory=tmp_path, **ports))
        wait_until(lambda: listens(http), what="web")

        def stored() -> bool:
            today = house()["today"]
            return bool(today and {"main", "pump"} <= today["now"]["meters"].keys())

        wait_until(stored, what="both meters in the history")
        wait_until(lambda: house()["power"]["rest"] is not None, what="the power of both")
        found = house()

    (main,) = found["meters"]
    (pump,) = main["children"]
    assert (main["name"], main["role"], main["billing"]) == ("Main meter", "grid", "netted")
    assert (pump["name"], pump["role"], pump["role_is_assumed"]) == ("Heat pump", "consumer", False)
    assert found["power"]["consumption"] == round(main["power"], 1)
    assert found["power"]["consumers"] == round(pump["power"], 1)
