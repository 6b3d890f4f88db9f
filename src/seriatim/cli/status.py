"""seriatim status."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from seriatim.scoring.standing import Standing


def run(
    output: Annotated[Path, typer.Argument(help="The --output of seriatim score.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Tell how far `seriatim score` is: counts by status and reason, rate, time left, the last error.

    It reads beside a running one and does not disturb it.

    Exit code: 0 told, 2 there is nothing to tell of.

    Example: `seriatim status scores/`
    """
    import json
    from dataclasses import asdict

    from seriatim.scoring.standing import read_standing

    standing = read_standing(output)
    typer.echo(json.dumps(asdict(standing), indent=2) if as_json else _describe(standing))


def _describe(standing: Standing) -> str:
    from datetime import timedelta

    from seriatim.errors import printable

    counts = standing.counts
    done = sum(number for status, number in counts.items() if status != "pending")
    lines = [f"run: {standing.run}{', looking for series' if standing.looking else ''}",
             f"done: {done} of {done + counts['pending']} series, {counts['pending']} left",
             ", ".join(f"{counts[status]} {status}" for status in ("scored", "refused", "failed"))]
    if standing.per_minute is not None:
        lines.append(f"rate: {standing.per_minute:.1f} series a minute")
    if standing.seconds_left is not None:
        lines.append(f"time left: {timedelta(seconds=round(standing.seconds_left))}")
    lines += [f"{number} x {code}" for code, number in standing.reasons.items()]
    if standing.last_error:
        lines.append(f"last error: {printable(standing.last_error)}")
    return "\n".join(lines)
