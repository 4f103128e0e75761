"""The frame of the pages: language, unknown addresses, and the word that the service is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, expect

from tests.support.parts import Part, free_port, listens, wait_until
from tests.support.web import make_client

GERMAN = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.8"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    return make_client(f"sqlite:///{tmp_path}/energy_meters.db")


@pytest.mark.parametrize(
    ("languages", "language"),
    [("de-AT,de;q=0.9,en;q=0.8", "de"), ("fr,en;q=0.5", "en"), ("", "en"), ("en,de", "en")],
)
def test_a_page_has_the_language_that_the_browser_prefers(
    client: FlaskClient, languages: str, language: str
) -> None:
    page = client.get("/", headers={"Accept-Language": languages}).text

    assert f'<html lang="{language}"' in page
    assert ("Zum Inhalt springen" in page) is (language == "de")
    assert ('"label": "Spannung L1"' in page) is (language == "de")


def test_an_unknown_address_is_a_page_for_a_person_and_json_for_a_program(
    client: FlaskClient,
) -> None:
    person = client.get("/nowhere", headers=BROWSER)
    german = client.get("/meter/a%20b", headers=BROWSER | GERMAN)
    program = client.get("/nowhere")

    assert (person.status_code, person.mimetype) == (404, "text/html")
    assert "There is no page here" in person.text
    assert 'href="/">All meters' in person.text
    assert german.status_code == 404
    assert "Diesen Zähler gibt es nicht" in german.text
    assert program.status_code == 404
    assert program.json == {"detail": "no such address; see /docs"}


def test_the_pages_can_be_installed(client: FlaskClient) -> None:
    manifest = client.get("/static/meterflow.webmanifest", buffered=True)

    assert manifest.status_code == 200
    found = manifest.get_json(force=True)
    assert found["display"] == "standalone"
    for icon in found["icons"]:
        assert client.get(f"/static/{icon['src']}", buffered=True).mimetype == icon["type"]


@pytest.fixture
def ports() -> dict[str, int]:
    return {"MQTT_PORT": free_port(), "HTTP_PORT": free_port()}


@pytest.fixture
def web(tmp_path: Path, ports: dict[str, int]) -> Iterator[Part]:
    with Part.module("web", directory=tmp_path, **ports) as part:
        wait_until(lambda: listens(ports["HTTP_PORT"]), what="the web service")
        yield part


@pytest.mark.browser
def test_a_page_says_that_the_service_is_away_and_comes_back(
    chromium: Browser, web: Part, tmp_path: Path, ports: dict[str, int]
) -> None:
    page = chromium.new_context(locale="de-DE").new_page()
    page.goto(f"http://127.0.0.1:{ports['HTTP_PORT']}/")
    page.evaluate("async () => (await navigator.serviceWorker.ready).active.state")

    web.stop()
    page.reload()
    expect(page.get_by_role("heading")).to_have_text("Meterflow ist nicht erreichbar")
    assert page.locator("body").evaluate("e => getComputedStyle(e).display") == "flex"

    with Part.module("web", directory=tmp_path, **ports):
        wait_until(lambda: listens(ports["HTTP_PORT"]), what="the web service")
        page.get_by_role("link", name="Erneut versuchen").click()
        expect(page.locator("#connection")).to_be_visible()
    page.context.close()
