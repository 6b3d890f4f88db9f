"""Findings: what discovery noticed about a series, as codes from a closed list with numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, get_args

from seriatim.errors import ConfigError

Action = Literal["refuse", "keep", "repair"]


class Code(StrEnum):
    """The closed list of findings; docs/findings.md says what each means and what we do."""

    GAP = "GAP"
    DUPLICATE_SLICE = "DUPLICATE_SLICE"
    DUPLICATE_POSITION = "DUPLICATE_POSITION"
    UNEVEN_SPACING = "UNEVEN_SPACING"
    GANTRY_TILT = "GANTRY_TILT"
    MIXED_ORIENTATION = "MIXED_ORIENTATION"
    MIXED_SIZE = "MIXED_SIZE"
    MISSING_GEOMETRY = "MISSING_GEOMETRY"
    BAD_VALUE = "BAD_VALUE"
    SHORT_COVERAGE = "SHORT_COVERAGE"
    TRUNCATED = "TRUNCATED"
    UNREADABLE = "UNREADABLE"
    LOSSY = "LOSSY"
    BURNED_IN_TEXT = "BURNED_IN_TEXT"
    POLYGLOT = "POLYGLOT"
    NOT_A_SERIES = "NOT_A_SERIES"
    DERIVED = "DERIVED"
    TOO_LARGE = "TOO_LARGE"
    DECODER_MISSING = "DECODER_MISSING"
    DECODER_CRASH = "DECODER_CRASH"
    TIMEOUT = "TIMEOUT"
    ENCRYPTED = "ENCRYPTED"
    UNSUPPORTED = "UNSUPPORTED"


DEFAULT_ACTIONS: Mapping[Code, Action] = {
    Code.GAP: "refuse",
    Code.DUPLICATE_SLICE: "repair",
    Code.DUPLICATE_POSITION: "refuse",
    Code.UNEVEN_SPACING: "keep",
    Code.GANTRY_TILT: "keep",
    Code.MIXED_ORIENTATION: "keep",
    Code.MIXED_SIZE: "refuse",
    Code.MISSING_GEOMETRY: "refuse",
    Code.BAD_VALUE: "refuse",
    Code.SHORT_COVERAGE: "keep",
    Code.TRUNCATED: "refuse",
    Code.UNREADABLE: "refuse",
    Code.LOSSY: "keep",
    Code.BURNED_IN_TEXT: "keep",
    Code.POLYGLOT: "keep",
    Code.NOT_A_SERIES: "refuse",
    Code.DERIVED: "refuse",
    Code.TOO_LARGE: "refuse",
    Code.DECODER_MISSING: "refuse",
    Code.DECODER_CRASH: "refuse",
    Code.TIMEOUT: "refuse",
    Code.ENCRYPTED: "refuse",
    Code.UNSUPPORTED: "refuse",
}

KEEPABLE = frozenset(
    {Code.GAP, Code.UNEVEN_SPACING, Code.GANTRY_TILT, Code.MIXED_ORIENTATION, Code.MISSING_GEOMETRY,
     Code.SHORT_COVERAGE, Code.LOSSY, Code.BURNED_IN_TEXT, Code.POLYGLOT, Code.NOT_A_SERIES,
     Code.DERIVED}
)
"""Codes of series whose order and values hold in spite of the finding. The others leave nothing that could be kept."""
REPAIRABLE = frozenset({Code.DUPLICATE_SLICE})

REPAIRS: Mapping[Code, str] = {
    Code.GAP: "Copy or export the series again, or keep it: --on GAP=keep.",
    Code.MIXED_SIZE: "Export the series again.",
    Code.MISSING_GEOMETRY: "Export the series with its geometry, or keep it: --on MISSING_GEOMETRY=keep.",
    Code.BAD_VALUE: "Export the series again, or correct the header.",
    Code.TRUNCATED: "Copy or export it again.",
    Code.UNREADABLE: "Copy it again.",
    Code.NOT_A_SERIES: "Give the folder of the whole series, or keep it: --on NOT_A_SERIES=keep.",
    Code.TOO_LARGE: "Export it in parts.",
    Code.UNSUPPORTED: "Convert or export it in another form.",
}
"""What to do about a refusal whose message says only what was seen."""
TWO_SENTENCES = re.compile(r"\. [A-Z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One observation about a series.

    ``message`` says what was seen, with its numbers, and in a second sentence the repair, where it is another than that
    of its code; ``action`` is what was done about it.
    """

    code: Code
    message: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    action: Action = "keep"

    @property
    def full_message(self) -> str:
        """The message, and what to do about it where it refuses the series."""
        repair = REPAIRS.get(self.code, "") if self.action == "refuse" else ""
        if not repair or TWO_SENTENCES.search(self.message):
            return self.message
        return f"{self.message}{'' if self.message.endswith(('.', ')')) else '.'} {repair}"

    def __str__(self) -> str:
        return f"{self.code}: {self.full_message}"


def parse_actions(texts: Iterable[str]) -> dict[Code, Action]:
    """``CODE=ACTION`` texts, as of a command line, to actions.

    Raises:
        ConfigError: a text is not CODE=ACTION, or the action cannot be done; the message names what is legal.
    """
    actions: dict[Code, Action] = {}
    for text in texts:
        code, _, action = text.partition("=")
        legal = next((known for known in get_args(Action) if known == action), None)
        if code not in Code.__members__ or legal is None:
            codes, known = ", ".join(Code), ", ".join(get_args(Action))
            raise ConfigError(f"{text!r} is not CODE=ACTION, for example GAP=keep. Codes: {codes}; actions: {known}.")
        actions[Code(code)] = legal
    check_actions(actions)
    return actions


def check_actions(actions: Mapping[Code, Action]) -> None:
    """Refuse actions that cannot be done: every finding can be refused, few can be kept, one is repaired.

    Raises:
        ConfigError: a code cannot be kept or repaired; the message names those that can.
    """
    possible = {"keep": KEEPABLE, "repair": REPAIRABLE, "refuse": frozenset(Code)}
    for code, action in actions.items():
        if code not in possible[action]:
            legal = ", ".join(sorted(possible[action]))
            raise ConfigError(f"{code}={action} is not possible: only {legal} can have {action!r}. Leave {code} out, "
                              f"or set {code}=refuse.")


def find(code: Code, message: str, **numbers: float) -> Finding:
    """Make a finding with the default action of its code."""
    return Finding(code=code, message=message, numbers=numbers, action=DEFAULT_ACTIONS[code])
