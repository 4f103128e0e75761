"""/metrics as Prometheus scrapes it, and the files of deploy/ that use it."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.subscribe
import pytest
from prometheus_client import Metric, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from contract.quantities import BY_NAME, DEFAULT_SET
from tests.support.parts import (
    ROOT,
    Part,
    free_port,
    listens,
    require,
    simulated_gateway,
    wait_until,
)
from web.latest import Latest, Message
from web.metrics import OF_RECORDERS, SILENT_S, Scrape

DASHBOARD = ROOT / "deploy/grafana/dashboards/meterflow.json"
PROMETHEUS = ROOT / "deploy/prometheus"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Site:
    """Everything that `meterflow run` starts."""

    def __init__(self) -> None:
        self.http, self.mqtt = free_port(), free_port()

    def get(self, path: str, accept: str = "*/*") -> tuple[str, str]:
        """Return the content type and the body of a page."""
        url = f"http://127.0.0.1:{self.http}{path}"
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"Accept": accept}), timeout=20
        ) as response:
            return response.headers["Content-Type"], response.read().decode()

    def scrape(self) -> dict[str, Metric]:
        return {family.name: family for family in plain_text(self.get("/metrics")[1])}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    found = Site()
    settings = {"HTTP_PORT": found.http, "MQTT_PORT": found.mqtt, "COMMIT_INTERVAL": 0}
    settings["POLL_INTERVAL"] = 1
    directory = tmp_path_factory.mktemp("site")
    with (
        simulated_gateway(directory, "1,2,3") as modbus,
        Part.module("meterflow", "run", directory=directory, **settings, **modbus),
    ):
        wait_until(lambda: listens(found.http), what="the pages")
        wait_until(lambda: len(values(found.scrape(), "meterflow_power_watts")) == 3)
        wait_until(lambda: values(found.scrape(), "meterflow_bridge_online"))
        wait_until(lambda: values(found.scrape(), "meterflow_recorder_online"))
        wait_until(lambda: values(found.scrape(), "meterflow_history_readable")[()])
        yield found


def values(families: dict[str, Metric], name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by the values of its labels."""
    family = families.get(name)
    samples = family.samples if family else ()
    return {tuple(sample.labels.values()): sample.value for sample in samples}


def test_a_scrape_has_the_meters_in_base_units(site: Site) -> None:
    reading = json.loads(site.get("/readings/1?limit=1")[1])[0]
    families = site.scrape()

    imported = values(families, "meterflow_energy_import_joules")[("1",)]
    assert imported == pytest.approx(reading["energy_import"] * 3.6e6, rel=1e-3)
    assert 200 < values(families, "meterflow_voltage_volts")[("2",)] < 260
    assert {phase for _, phase in values(families, "meterflow_phase_power_watts")} == {
        *("l1", "l2", "l3")
    }
    assert values(families, "meterflow_meter_online") == {("1",): 1, ("2",): 1, ("3",): 1}
    assert all(0 <= age < 10 for age in values(families, "meterflow_reading_age_seconds").values())
    [info] = [s for s in families["meterflow_meter_info"].samples if s.labels["meter"] == "1"]
    assert info.labels["model"] == "SDM630-Modbus V2"


def test_a_scrape_has_the_services(site: Site) -> None:
    families = site.scrape()

    assert values(families, "meterflow_bridge_online") == {("gateway",): 1}
    assert values(families, "meterflow_gateway_connected") == {("gateway", "gateway"): 1}
    assert values(families, "meterflow_recorder_failing") == {("main",): 0}
    assert values(families, "meterflow_web_clients") == {(): 0}
    assert values(families, "meterflow_history_size_bytes")[()] > 10_000
    assert families["process_cpu_seconds"].type == "counter"


def test_the_names_follow_the_rules_of_prometheus(site: Site) -> None:
    for family in plain_text(site.get("/metrics")[1]):
        assert re.fullmatch(r"(meterflow|process)_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge"}
        for sample in family.samples:
            assert (family.type == "counter") == sample.name.endswith("_total")


def test_promtool_finds_nothing_to_improve(site: Site) -> None:
    checked = subprocess.run(
        [require("promtool"), "check", "metrics"],
        input=site.get("/metrics")[1],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=1.0.0", "text/plain"])
def test_both_formats_of_prometheus_are_served(site: Site, accept: str) -> None:
    content_type, body = site.get("/metrics", accept)

    assert content_type.startswith(accept.partition(";")[0])
    parse = open_metrics if "openmetrics" in accept else plain_text
    assert "meterflow_power_watts" in {family.name for family in parse(body)}


def test_a_client_that_asks_for_nonsense_gets_plain_text(site: Site) -> None:
    content_type, _ = site.get("/metrics", "text/plain; version=one")

    assert content_type.startswith("text/plain; version=0.0.4")


# -- without a site: what others publish --------------------------------------------------------


def scrape(*messages: tuple[str, object], now: datetime = NOW) -> dict[str, Metric]:
    """Return what a scrape shows after messages."""
    latest = Latest()
    for topic, payload in messages:
        encoded = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
        message = Message.of(
            f"meters/{topic}", encoded, retained=False, arrived=NOW, now_s=NOW.timestamp()
        )
        assert message
        latest.handle(message)
    found = Scrape(
        meters=sorted(latest.meters.items()),
        services=sorted(latest.services.items()),
        latest=latest,
        database=None,
        connected=True,
        clients=0,
        waiting=0,
        now=now,
    )
    return {family.name: family for family in plain_text(generate_latest(found).decode())}


def reading(**measured: float) -> dict[str, object]:
    return {"ts": NOW.isoformat(), **measured}


def test_a_meter_that_is_silent_or_offline_has_no_values() -> None:
    power = ("1/reading", reading(power=12))
    late = NOW + timedelta(seconds=SILENT_S + 1)

    assert values(scrape(power), "meterflow_power_watts") == {("1",): 12}
    assert values(scrape(power, now=late), "meterflow_power_watts") == {}
    offline = scrape(power, ("1/status", "offline"))
    assert values(offline, "meterflow_power_watts") == {}
    assert values(offline, "meterflow_meter_online") == {("1",): 0}
    assert values(offline, "meterflow_reading_age_seconds") == {("1",): 0}


def test_energy_is_exact_in_joules_under_either_of_its_names() -> None:
    families = scrape(
        ("1/reading", reading(energy=12_345.678)),
        ("2/reading", reading(energy_import=0.001, energy=5)),
    )

    assert values(families, "meterflow_energy_import_joules") == {
        ("1",): 12_345_678 * 3600,
        ("2",): 3600,
    }


def test_every_quantity_of_the_default_set_with_a_base_unit_has_a_metric() -> None:
    measured = dict.fromkeys(DEFAULT_SET, 0.5)
    families = scrape(("1/reading", reading(**measured)))

    shown = sum(len(family.samples) for name, family in families.items() if "phase" not in name)
    of_phases = sum(len(family.samples) for name, family in families.items() if "phase" in name)
    angles = [name for name in DEFAULT_SET if BY_NAME[name].kind.unit == "°"]
    phases = [name for name in DEFAULT_SET if name[-3:] in {"_l1", "_l2", "_l3"}]
    assert of_phases == len(phases) - 3
    assert len(angles) == 4
    assert shown > len(DEFAULT_SET) - len(phases) - 2


def test_no_info_makes_a_scrape_invalid() -> None:
    twice = {"name": "a\ud800\n\u202e" * 100, "requests": 1, "connects": True, "skipped": "many"}
    families = scrape(
        ("1/info", {"name": 'a"\\\n', "model": ["x"], "serial": None, "bridge": {"a": 1}}),
        ("_bridge/b/info", {"gateways": [twice, twice, "x", {}], "polls": 10**400, "errors": "1"}),
        ("_bridge/c/info", {"gateways": 7, "polls": [], "started": "soon"}),
        ("_recorder/r/info", {"stored": "1", "queue": -1, "last_commit": "x", "since": 5}),
    )

    requests = values(families, "meterflow_gateway_requests")
    assert list(requests.values()) == [1]
    assert values(families, "meterflow_bridge_readings") == {}
    assert values(families, "meterflow_recorder_queued_messages") == {("r",): -1}
    [info] = families["meterflow_meter_info"].samples
    assert info.labels["name"] == 'a"\\\\n'
    assert all(len(label) < 500 for label in next(iter(requests)))


def test_messages_that_wait_for_a_commit_are_shown_beside_all_that_are_not_stored() -> None:
    families = scrape(("_recorder/main/info", {"queue": 12, "waiting": 9}))

    assert values(families, "meterflow_recorder_queued_messages") == {("main",): 12}
    assert values(families, "meterflow_recorder_waiting_messages") == {("main",): 9}


def test_every_number_of_a_recorders_info_has_a_metric(site: Site) -> None:
    families = site.scrape()
    message = paho.mqtt.subscribe.simple("meters/_recorder/main/info", port=site.mqtt)
    info = json.loads(message.payload)

    numbers = {key for key, value in info.items() if isinstance(value, int)}
    shown = {name for name in families if values(families, name).keys() == {("main",)}}
    assert {"queue", "waiting", "stored"} <= numbers
    assert numbers <= {figure.key for figure in OF_RECORDERS}
    assert {f"meterflow_recorder_{figure.metric}" for figure in OF_RECORDERS} <= shown


# -- the files of deploy/ -----------------------------------------------------------------------


def queries() -> list[str]:
    """Return every query of the dashboard, for all meters and a minute."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    places = {"$meter": ".*", "$__rate_interval": "1m", "$__range": "1m"}
    for name, value in places.items():
        found = [query.replace(name, value) for query in found]
    return found


def named(text: str) -> set[str]:
    return set(re.findall(r"meterflow_[a-z_]+", text))


@pytest.mark.parametrize("path", [DASHBOARD, PROMETHEUS / "meterflow.rules.yml"])
def test_every_metric_of_the_dashboard_and_the_alerts_exists(site: Site, path: Path) -> None:
    shown = {sample.name for family in site.scrape().values() for sample in family.samples}

    assert named(path.read_text()) - {"meterflow_rules"} <= shown


def test_the_dashboard_has_the_schema_of_grafana() -> None:
    """What Grafana's own types do not know is lost on the way through them."""
    models = pytest.importorskip("grafana_foundation_sdk.models.dashboard")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    written = json.loads(DASHBOARD.read_text())
    understood = json.loads(JSONEncoder().encode(models.Dashboard.from_json(written)))

    assert lost(written, understood) == []


def lost(before: Any, after: Any, where: str = "") -> list[str]:
    """Return where a value is not as it was before."""
    if isinstance(before, dict) and isinstance(after, dict):
        pairs = [(key, value, after.get(key)) for key, value in before.items()]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = list(zip(range(len(before)), before, after, strict=True))
    else:
        return [] if before == after else [where]
    return [each for key, one, other in pairs for each in lost(one, other, f"{where}.{key}")]


def test_no_panels_of_the_dashboard_overlap_or_share_an_id() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]

    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)
    assert len({panel["id"] for panel in panels}) == len(panels)


def is_ready(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=30).close()
    except OSError:
        return False
    return True


def test_prometheus_answers_every_query_of_the_dashboard(site: Site, tmp_path: Path) -> None:
    port = free_port()
    configuration = (PROMETHEUS / "prometheus.yml").read_text()
    configuration = configuration.replace("15s", "1s").replace(":8000", f":{site.http}")
    (tmp_path / "prometheus.yml").write_text(configuration)
    (tmp_path / "meterflow.rules.yml").write_text((PROMETHEUS / "meterflow.rules.yml").read_text())
    arguments = (
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}",
    )

    def answer(query: str) -> list[Any]:
        url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        with urllib.request.urlopen(url, timeout=30) as response:
            found: list[Any] = json.load(response)["data"]["result"]
        return found

    with Part(require("prometheus"), *arguments, directory=tmp_path):
        wait_until(lambda: is_ready(port), what="prometheus")
        for query in queries():
            wait_until(lambda query=query: answer(query), what=query)
        states = [each["value"][1] for each in answer("meterflow_meter_online")]
        alerts = answer("ALERTS")

    assert states == ["1", "1", "1"]
    assert alerts == []
