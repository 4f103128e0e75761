"""Start of every service: settings that explain themselves, and mistakes reported in a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import misspelt
from tests.support.parts import Part
from tools.generate_docs import SERVICES, settings_of


def names_of(service: str) -> set[str]:
    return {name.upper() for name in settings_of(service).model_fields}


each_service = pytest.mark.parametrize("service", SERVICES)


@each_service
def test_a_service_has_settings_that_work_by_default(service: str) -> None:
    settings_of(service).load()


@each_service
def test_every_setting_has_one_sentence_of_meaning(service: str) -> None:
    for name, field in settings_of(service).model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert "\n" not in field.description, name


@each_service
def test_a_setting_of_another_service_is_not_taken_for_a_misspelt_one(service: str) -> None:
    others = {name for other in SERVICES for name in names_of(other)}
    foreign = {"API_BASE_URL", "API_TIMEOUT", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "LOGNAME"}

    assert misspelt(others | foreign, names_of(service)) == {}


@each_service
def test_a_service_explains_itself(service: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", service, "--help"], capture_output=True, text=True, check=True
    ).stdout

    assert all(name in shown for name in names_of(service))


@each_service
def test_a_service_ends_with_2_and_one_sentence_for_a_wrong_setting(
    service: str, tmp_path: Path
) -> None:
    with Part.module(service, directory=tmp_path, LOG_LEVEL="LOUD") as part:
        assert part.process.wait(20) == 2

    assert part.output.startswith(f"{service}: LOG_LEVEL: should be")
    assert len(part.output.splitlines()) == 1
