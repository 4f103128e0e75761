"""A client of the web service in this process: on a real history, without a broker."""

from typing import Any

from flask.testing import FlaskClient

from tests.support.parts import free_port
from web import create_app
from web.context import KEY, Parts
from web.settings import WebSettings


def make_client(url: str, **settings: Any) -> FlaskClient:
    """Return a client of a service with the history of a URL."""
    return create_app(
        WebSettings(_env_file=None, database_url=url, mqtt_port=free_port(), **settings)
    ).test_client()


def parts(client: FlaskClient) -> Parts:
    """Return the parts of a client's service."""
    found: Parts = client.application.extensions[KEY]
    return found
