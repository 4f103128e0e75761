"""Findings: what the doctor says, one thing at a time, and what to do about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "look", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out: `fault` needs a person, `look` may be meant so, `ok` is as it should be.

    `step` says where on the way it was found; `remedy` what to do.
    """

    step: str
    level: Level
    text: str
    remedy: str = ""


Tell = Callable[[Finding], None]
"""Takes findings as they come."""
