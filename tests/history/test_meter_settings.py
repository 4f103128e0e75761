"""The settings of meters: a person's take precedence over those of the meter's info."""

import peewee
import pytest

from contract.errors import PayloadError
from contract.meter_settings import MeterSettings, decode_settings
from history.meter_settings import change, read_sources, store_infos
from history.readings_table import Writer
from history.tables import Meter, read_meter
from tests.history.test_database import reading

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(autouse=True)
def _meters(database: peewee.Database) -> None:
    Writer(database).write([reading(name, 0, 0.0) for name in ("main", "flat", "solar")])


def settings(**given: object) -> MeterSettings:
    return MeterSettings.model_validate(given, strict=False)


def meter(database: peewee.Database, name: str) -> Meter:
    found = read_meter(database, name)
    assert found
    return found


def test_what_an_info_says_is_stored_for_a_meter_with_readings(database: peewee.Database) -> None:
    info = settings(role="grid", name="Main", billing="netted")

    assert store_infos(database, {"main": info, "made_up": info}) == {"main"}

    main = meter(database, "main")
    assert (main.role, main.title, main.billing, main.parent) == ("grid", "Main", "netted", None)


def test_a_person_has_precedence_until_the_setting_is_cleared(database: peewee.Database) -> None:
    store_infos(database, {"flat": settings(role="consumer", name="Meter flat", parent="main")})

    change(database, "flat", settings(name="Ground floor", role="production"))
    store_infos(database, {"flat": settings(role="storage", name="Meter 7", parent="main")})

    flat = meter(database, "flat")
    assert (flat.title, flat.role, flat.parent) == ("Ground floor", "production", "main")

    change(database, "flat", settings(role=None))
    assert meter(database, "flat").role == "storage"
    assert meter(database, "flat").title == "Ground floor"


def test_an_info_that_says_nothing_more_is_followed(database: peewee.Database) -> None:
    store_infos(database, {"flat": settings(parent="main", role="consumer")})
    store_infos(database, {"flat": settings(name="Flat")})

    assert read_sources(database)["flat"].info == settings(name="Flat")
    assert meter(database, "flat").parent is None


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("flatt", {"role": "grid"}, "meter: 'flatt' has no history; did you mean flat?"),
        ("flat", {"parent": "mian"}, "parent: 'mian' has no history; did you mean main?"),
        ("flat", {"parent": "flat"}, "parent: 'flat' leads back to the meter itself (flat → flat)"),
        ("main", {"parent": "solar"}, "(main → solar → flat → main)"),
    ],
)
def test_settings_that_do_not_fit_change_nothing(
    database: peewee.Database, name: str, given: dict[str, str], message: str
) -> None:
    change(database, "flat", settings(parent="main"))
    store_infos(database, {"solar": settings(parent="flat")})
    before = read_sources(database)

    with pytest.raises(PayloadError) as caught:
        change(database, name, settings(**given))

    assert message in str(caught.value)
    assert read_sources(database) == before


def test_clearing_a_parent_does_not_bring_a_circle_to_light(database: peewee.Database) -> None:
    store_infos(database, {"flat": settings(parent="main")})
    change(database, "flat", settings(parent="solar"))
    change(database, "main", settings(parent="flat"))

    with pytest.raises(PayloadError, match="leads back"):
        change(database, "flat", settings(parent=None))


def test_a_serial_number_is_a_text_also_where_it_is_sent_as_a_number() -> None:
    assert decode_settings('{"serial": 48211}').serial == "48211"
    assert decode_settings('{"serial": "A-1"}').serial == "A-1"
    with pytest.raises(PayloadError, match="serial"):
        decode_settings('{"serial": 1.5}')
