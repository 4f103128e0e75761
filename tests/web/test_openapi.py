"""The description of the interface: valid, true to the service, and enough to generate a client."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import OpenAPIV31SpecValidator

from contract.readings import Reading
from history.database import migrate, open_database
from history.readings_table import Writer
from tests.support.parts import ROOT, Part, free_port, listens, wait_until
from tests.support.web import make_client, parts
from web import create_app
from web.settings import WebSettings

SCRIPTS = Path(sys.executable).parent
OPERATIONS = {
    "list_meters", "get_meter", "get_series", "list_readings", "list_readings_of_meter",
    "post_readings", "list_quantities", "set_meter", "get_site", "get_site_energy",
    "get_site_series", "list_statements", "get_statement", "list_utility_readings",
    "list_utility_readings_of_meter", "enter_utility_reading", "remove_utility_reading",
    "list_voids", "list_voids_of_meter",
}  # fmt: skip
SCHEMATHESIS = """
hooks = "tests.support.schemathesis_hooks"

# A period that ends before it begins, or a reading without any value, has valid fields.
[[operations]]
include-path-regex = "/(series|energy|peaks|prices|summary)$"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "422"]

# Some periods have readings that are not rolled up yet.
[[operations]]
include-path-regex = "/statements/"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "409", "422"]

[[operations]]
include-operation-id = "post_readings"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "409", "422"]

# A time in the future is one, too.
[[operations]]
include-path-regex = "/utility-readings/.+"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "422"]

# A parent may be any id, but only one of a meter is stored.
[[operations]]
include-operation-id = "set_meter"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "422"]
"""
CLIENT = """
import datetime, sys

from meterflow_client import Client
from meterflow_client.api.meters import get_meter, list_meters
from meterflow_client.api.readings import list_readings_of_meter, post_readings
from meterflow_client.models import ListReadingsOfMeterFieldsItem as Field
from meterflow_client.models import NewReading

client = Client(base_url=sys.argv[1], raise_on_unexpected_status=True)
now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
posted = post_readings.sync(client=client, body=NewReading(meter_id="gen", ts=now, power=5.5))
assert (posted.meter_id, posted.ts, posted.power) == ("gen", now, 5.5), posted
again = post_readings.sync_detailed(
    client=client, body=[NewReading(meter_id="gen", ts=now, power=power) for power in (5.5, 6)]
)
assert again.status_code == 207
assert [outcome.status for outcome in again.parsed] == [200, 409], again

meter = get_meter.sync("gen", client=client)
assert (meter.latest.power, meter.last_seen) == (5.5, now), meter
assert [each.meter_id for each in list_meters.sync(client=client)] == ["gen", "seen"]
[reading] = list_readings_of_meter.sync(
    "gen", client=client, from_=now, to=now + datetime.timedelta(seconds=1),
    fields=[Field.TS, Field.POWER],
)
assert reading.power == 5.5
unknown = get_meter.sync("nobody", client=client)
assert "unknown meter" in unknown.detail
print("done")
"""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The description."""
    client = create_app(WebSettings(_env_file=None)).test_client()
    found: dict[str, Any] = client.get("/openapi.json").json
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for methods in document["paths"].values():
        yield from methods.items()


def test_the_description_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_operations_keep_their_ids(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]

    assert len(ids) == len(set(ids))
    assert set(ids) >= OPERATIONS


def test_tokens_and_sessions_are_described_beside_requests_without_either(
    document: dict[str, Any],
) -> None:
    schemes = document["components"]["securitySchemes"]

    assert (schemes["bearer"]["type"], schemes["bearer"]["scheme"]) == ("http", "bearer")
    assert (schemes["session"]["in"], schemes["session"]["name"]) == ("cookie", "meterflow_session")
    assert document["security"] == [{}, {"bearer": []}, {"session": []}]


def test_errors_are_described_as_they_are(document: dict[str, Any]) -> None:
    def schema(response: dict[str, Any]) -> str:
        reference: str = response["content"]["application/json"]["schema"]["$ref"]
        return reference.rpartition("/")[2]

    responses = document["paths"]["/readings/"]["post"]["responses"]
    problems = ("400", "401", "403", "409", "413", "415", "421", "503")
    assert {schema(responses[status]) for status in problems} == {"Problem"}
    assert {
        schema(operation["responses"]["422"])
        for _, operation in operations(document)
        if "422" in operation["responses"]
    } == {"InvalidFields"}


def test_a_posted_reading_needs_a_meter_and_a_stored_one_has_a_time(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]

    assert schemas["NewReading"]["required"] == ["meter_id"]
    assert schemas["Reading"]["required"] == ["ts", "meter_id"]
    assert set(schemas["NewReading"]["properties"]) == set(schemas["Reading"]["properties"])


def test_bodies_and_periods_have_examples_that_the_service_accepts(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    paths = document["paths"]
    body = paths["/readings/"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        assert client.post("/readings/", json=example["value"]).status_code == 503  # no broker
    period = {
        parameter["name"]: parameter["schema"]["examples"][0]
        for parameter in paths["/readings/"]["get"]["parameters"]
        if parameter["name"] in {"from", "to"}
    }
    assert client.get("/readings/", query_string=period).status_code == 200


@pytest.fixture(scope="module")
def wild_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A client of a service with a history of one meter and without a broker."""
    url = f"sqlite:///{tmp_path_factory.mktemp('wild')}/energy_meters.db"
    database = open_database(url)
    migrate(database)
    start = datetime(2026, 11, 22, tzinfo=UTC)
    Writer(database).write(
        [Reading("1", start + timedelta(minutes=n), {"power": n}) for n in range(20)]
    )
    database.close()
    client = make_client(url)
    yield client
    parts(client).history.close()


names = st.sampled_from(
    ["from", "to", "limit", "cursor", "order", "fields", "format", "meter", "meter_id", "points",
     "quantities", "extremes", "period", "tariff", "lines", "site",
     "meters", "seconds"]
)  # fmt: skip
times = st.datetimes(timezones=st.timezones()).map(lambda time: time.isoformat())
values = (
    st.text(max_size=20)
    | st.integers().map(str)
    | st.floats().map(str)
    | times
    | st.sampled_from(["1", "desc", "csv", "power", "all", "0001-01-01T00:00Z", "1.1", "9" * 400])
)
queries = st.lists(
    st.builds(lambda name, value: f"{name}={quote(value, errors='surrogatepass')}", names, values)
    | st.binary(max_size=20).map(lambda raw: raw.decode("latin1")),
    max_size=5,
).map("&".join)
paths = st.sampled_from(
    ["/meters/", "/meters/{}", "/meters/{}/series", "/meters/{}/energy", "/meters/{}/peaks",
     "/readings/", "/readings/{}", "/quantities/", "/site/", "/site/energy", "/site/series",
     "/site/summary", "/meters/{}/summary", "/tariffs/", "/tariffs/{}/prices",
     "/statements/", "/statements/{}", "/utility-readings/",
     "/utility-readings/{}", "/voids/", "/voids/{}", "/traces/"]
)  # fmt: skip
ids = st.sampled_from(["1", "2", "%00", "%ED%A0%80", "%2e%2e", "x" * 40]) | st.text(
    st.characters(exclude_characters="/?#"), min_size=1, max_size=10
).map(lambda text: quote(text, errors="surrogatepass"))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(path=paths, meter_id=ids, query=queries)
def test_no_request_makes_the_service_fail(
    wild_client: FlaskClient, path: str, meter_id: str, query: str
) -> None:
    answer = wild_client.get(path.format(meter_id), query_string=query)

    assert answer.status_code in {200, 404, 409, 422}, answer.text
    if answer.status_code != 200:
        assert answer.json["detail"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | times,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["meter_id", "ts", "seq", "power"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(body=json_values)
def test_no_body_makes_the_service_fail(wild_client: FlaskClient, body: Any) -> None:
    text = json.dumps(body)
    answer = wild_client.post("/readings/", data=text, content_type="application/json")

    assert answer.status_code in {422, 503}, answer.text
    assert answer.status_code == 422 or "broker" in answer.json["detail"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service with a broker and a recorder, which have a reading of `seen`."""
    directory = tmp_path_factory.mktemp("openapi")
    mqtt, http = free_port(), free_port()
    settings: dict[str, Any] = {"directory": directory, "MQTT_PORT": mqtt, "HTTP_PORT": http}
    with ExitStack() as stack:
        stack.enter_context(Part.module("broker", **settings))
        wait_until(lambda: listens(mqtt), what="the broker")
        recorder = Part.module("recorder", **settings, NEW_METERS_PER_HOUR=100_000)
        stack.enter_context(recorder).wait_for("connected")
        stack.enter_context(Part.module("web", **settings)).wait_for("listening")
        address = f"http://127.0.0.1:{http}"
        body = json.dumps({"meter_id": "seen", "power": 1}).encode()
        wait_until(lambda: _stored(Request(f"{address}/readings/", body)), what="a reading")
        yield address


def _stored(request: Request) -> bool:
    request.add_header("Content-Type", "application/json")
    try:
        with urlopen(request, timeout=30) as response:
            return bool(response.status == 201)
    except OSError:
        return False


def test_a_generated_client_reads_a_meter_and_posts_a_reading(
    url: str, document: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    generator = SCRIPTS / "openapi-python-client"
    options = ["--path", "openapi.json", "--output-path", "meterflow_client", "--meta", "none"]
    environment = os.environ | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
    run: dict[str, Any] = {
        "cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 60,
    }  # fmt: skip

    generated = subprocess.run([generator, "generate", "--fail-on-warning", *options], **run)
    assert generated.returncode == 0, generated.stdout + generated.stderr
    (tmp_path / "use.py").write_text(CLIENT)
    used = subprocess.run([sys.executable, "use.py", url], **run)

    assert used.stdout == "done\n", used.stderr


@pytest.mark.timeout(300)
def test_schemathesis_finds_nothing(url: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(SCHEMATHESIS)
    deterministic = ["--generation-deterministic"] if os.environ.get("CI") == "true" else []
    done = subprocess.run(
        [SCRIPTS / "schemathesis", "run", f"{url}/openapi.json", "--checks=all",
         "--max-examples=10", "--request-timeout=10", "--continue-on-failure", *deterministic],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
