"""The catalogue: what every other table of the project is derived from."""

import re

import pytest

from contract.quantities import BY_NAME, CORE_SET, DEFAULT_SET, QUANTITIES, Quantity, quantity_set
from contract.topics import QUANTITY, RESERVED

LARGEST_INTEGER = 2**63 - 1
UNIT_OF_DEVICE_CLASS = {  # those that Home Assistant has had since device-based discovery
    "voltage": "V",
    "current": "A",
    "power": "W",
    "apparent_power": "VA",
    "reactive_power": "var",
    "power_factor": "",
    "frequency": "Hz",
    "energy": "kWh",
}

each_quantity = pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda q: q.name)


def test_names_and_labels_are_unique() -> None:
    assert len(BY_NAME) == len(QUANTITIES)
    assert len({quantity.label for quantity in QUANTITIES}) == len(QUANTITIES)


@each_quantity
def test_a_name_can_be_a_topic_and_a_column(quantity: Quantity) -> None:
    assert QUANTITY.fullmatch(quantity.name)
    assert quantity.name not in RESERVED | {"meter", "ts", "time", "meter_id", "seq"}


@each_quantity
def test_a_quantity_has_the_unit_its_device_class_wants(quantity: Quantity) -> None:
    if quantity.kind.device_class:
        assert quantity.kind.unit == UNIT_OF_DEVICE_CLASS[quantity.kind.device_class]


@each_quantity
def test_every_plausible_value_fits_the_column(quantity: Quantity) -> None:
    assert quantity.kind.lowest < quantity.kind.highest
    assert abs(quantity.kind.lowest) * 1000 < LARGEST_INTEGER
    assert abs(quantity.kind.highest) * 1000 < LARGEST_INTEGER


@each_quantity
def test_what_counts_up_is_a_counter_and_nothing_else(quantity: Quantity) -> None:
    counts_up = "energy" in quantity.name or quantity.name == "charge"

    assert quantity.kind.counter == counts_up
    assert quantity.kind.state_class == ("total_increasing" if counts_up else "measurement")


@pytest.mark.parametrize("name", [name for name in BY_NAME if re.search("_l1$", name)])
def test_a_quantity_of_one_phase_exists_for_all_three(name: str) -> None:
    stem = name.removesuffix("l1")

    if not re.search("_l[123]_$", stem):  # voltage_l3_l1 is between two lines
        assert {f"{stem}l2", f"{stem}l3"} <= BY_NAME.keys()


def test_the_sets_grow_from_core_to_all() -> None:
    assert len(CORE_SET) == 13
    assert set(CORE_SET) < set(DEFAULT_SET) < BY_NAME.keys()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["core"], 13),
        (["all"], len(QUANTITIES)),
        (["core", "frequency"], 14),
        (["energy", "power", "power"], 2),
        ([], 0),
    ],
)
def test_a_choice_of_quantities_mixes_sets_and_names(words: list[str], names: int) -> None:
    assert len(quantity_set(words)) == names


def test_a_choice_comes_in_the_order_of_the_catalogue() -> None:
    assert quantity_set(["energy", "power", "voltage"]) == ("voltage", "power", "energy")


def test_a_choice_names_the_word_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="'watts' is neither a quantity nor one of core"):
        quantity_set(["power", "watts"])
