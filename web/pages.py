"""The pages of the dashboard."""

from flask import Blueprint, Response, make_response, render_template

from contract import topics
from contract.quantities import QUANTITIES
from service import __version__

blueprint = Blueprint("pages", __name__)

CATALOGUE = [
    {
        "name": quantity.name,
        "label": quantity.label,
        "unit": quantity.kind.unit,
        "decimals": quantity.kind.decimals,
        "counter": quantity.kind.counter,
    }
    for quantity in QUANTITIES
]

_NO_METER = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>No such meter</title>
<h1>No such meter</h1>
<p>A meter's id has 1 to 32 letters, digits, “_” or “-”. <a href="/">All meters</a></p>
"""


@blueprint.get("/")
def overview() -> str:
    """Show all meters."""
    return _page("index.html", None)


@blueprint.get("/meter/<meter_id>")
def meter(meter_id: str) -> str | Response:
    """Show one meter; it may be one that has not sent anything yet."""
    if not topics.METER_ID.fullmatch(meter_id):
        return make_response(_NO_METER, 404)
    return _page("meter.html", meter_id)


def _page(template: str, meter_id: str | None) -> str:
    return render_template(template, quantities=CATALOGUE, meter_id=meter_id, version=__version__)
