"""PATCH /meters/<meter_id> with a real broker and a real recorder."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from flask.testing import FlaskClient

from contract.readings import Reading
from tests.support.parts import wait_until
from tests.web.test_live import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        site = Site(tmp_path_factory.mktemp("site"), stack)
        site.publish(*((f"meters/{name}/reading", '{"power": 1}') for name in ("main", "flat")))
        wait_until(lambda: len(site.get("/readings/")[1]) == 2)
        yield site


def patch(port: int, meter_id: str, body: object) -> tuple[int, Any]:
    request = Request(
        f"http://127.0.0.1:{port}/meters/{meter_id}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
        method="PATCH",
    )
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["detail"]


def test_settings_are_stored_and_shape_the_house(site: Site) -> None:
    assert patch(site.http, "main", {"role": "grid", "billing": "netted"}) == (
        200,
        {"meter_id": "main", "role": "grid", "parent": None, "name": None, "billing": "netted"}
        | {"serial": None},
    )
    assert patch(site.http, "flat", {"parent": "main", "name": "Ground floor"})[0] == 200

    (main,) = site.get("/site/")[1]["meters"]
    assert (main["meter_id"], main["role"], main["billing"]) == ("main", "grid", "netted")
    assert [child["name"] for child in main["children"]] == ["Ground floor"]


def test_a_setting_that_is_null_is_that_of_the_info_again(site: Site) -> None:
    site.publish(("meters/flat/info", '{"name": "Meter 7"}'), retain=True)

    assert patch(site.http, "flat", {"name": "Attic"})[1]["name"] == "Attic"
    wait_until(lambda: patch(site.http, "flat", {"name": None})[1]["name"] == "Meter 7")


@pytest.mark.parametrize(
    ("meter_id", "body", "status", "message"),
    [
        ("flatt", {"role": "grid"}, 404, "meter 'flatt' has no history; did you mean flat?"),
        ("flat", {"parent": "mian"}, 422, "'mian' has no history; did you mean main?"),
        ("flat", {"parent": "flat"}, 422, "leads back to the meter itself"),
        ("flat", {"role": "gird"}, 422, "should be 'grid', 'production', 'storage' or"),
        ("flat", {"roel": "grid"}, 422, "Extra inputs are not permitted"),
        ("flat", {"name": ""}, 422, "should have at least 1 character"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(
    site: Site, meter_id: str, body: object, status: int, message: str
) -> None:
    before = site.get("/site/")[1]["meters"]

    found = patch(site.http, meter_id, body)

    assert found[0] == status
    assert message in json.dumps(found[1], ensure_ascii=False)
    after = site.get("/site/")[1]["meters"]
    assert [each["children"] for each in after] == [each["children"] for each in before]


def test_settings_that_are_published_and_not_stored_are_accepted(site: Site) -> None:
    site.recorder.stop()
    try:
        status, found = patch(site.http, "flat", {"name": "Later"})
        assert (status, found["name"], found["parent"]) == (202, "Later", "main")
    finally:
        site.recorder = site.start("recorder")


def test_without_a_broker_settings_are_refused(
    client: FlaskClient, store: Callable[..., None]
) -> None:
    store(Reading("1", datetime(2026, 11, 22, tzinfo=UTC), {"power": 1.0}))

    answer = client.patch("/meters/1", json={"role": "grid"})

    assert answer.status_code == 503
    assert "nothing was published" in answer.json["detail"]
