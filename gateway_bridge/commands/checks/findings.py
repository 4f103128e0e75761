"""Findings: the results of a check."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One result of a check: a `fault` must be fixed, a `warning` may be intended.

    `step` is where on the way to the meters or the broker, `remedy` is what to do.
    """

    step: str
    level: Level
    text: str
    remedy: str = ""
