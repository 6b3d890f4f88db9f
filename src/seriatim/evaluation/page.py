"""The evaluation as one HTML page without a network: figures, metrics, subgroups, and what was left out."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from seriatim import __version__
from seriatim.evaluation.intervals import RESAMPLES, Estimate
from seriatim.evaluation.subgroups import Subgroups

if TYPE_CHECKING:
    from seriatim.evaluation.report import Evaluation

SHOWN_OF_GROUPS = ("auc", "average_precision", "sensitivity", "specificity", "balanced_accuracy", "brier", "mae", "r2")


def write_page(evaluation: Evaluation, figures: Sequence[Path], *, path: Path) -> None:
    """Write the page; everything from tables is escaped, the figures are inside."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("seriatim.evaluation").joinpath("page.html").read_text(encoding="utf-8"))
    path.write_text(template.render(_describe(evaluation, figures)), encoding="utf-8")


def _describe(evaluation: Evaluation, figures: Sequence[Path]) -> dict[str, Any]:
    question, samples, joined = evaluation.question, evaluation.samples, evaluation.joined
    subject = ", ".join(question.labels)
    key = next((name for name in ("auc", "auc_macro", "mae") if name in evaluation.measures), "")
    lead = f"{key}: {tell(evaluation.measures[key])}" if key else "No single figure sums this up; see the table."
    notes = []
    if joined.left_out:
        notes.append(f"{joined.left_out} series were left out because the model was trained or tuned on them.")
    if joined.trained_on:
        notes.append(f"{joined.trained_on} series were counted although the model was trained or tuned on them: "
                     "too good for new series.")
    return {
        "title": f"Evaluation of {subject}",
        "subtitle": f"{len(samples.labels)} series, {samples.clusters.count} by {samples.clustered_by}; "
                    f"{len(evaluation.scores)} table(s) of scores",
        "headline": lead,
        "notes": notes,
        "figures": [(one.stem, base64.b64encode(one.read_bytes()).decode("ascii")) for one in figures],
        "metrics": [_row(name, one) for name, one in evaluation.all_measures.items()],
        "subgroups": _tabulate(evaluation.subgroups),
        "not_evaluated": list(evaluation.missing_counts.items()),
        "made": f"seriatim {__version__}. Intervals are 95 %: Wilson's for shares, DeLong's for AUCs, else {RESAMPLES} "
                "resamples of whole patients. Where patients have several series, all of them count "
                "patients. Decisions are at the thresholds chosen on validation unless one was "
                "given. Research use only; not a medical device.",
    }


def tell(estimate: Estimate) -> str:
    """A value with its interval in a few words."""
    if estimate.value is None:
        return f"not defined ({estimate.reason})"
    return f"{estimate.value:.3f} ({_interval(estimate)})"


def _row(name: str, one: Estimate) -> dict[str, str]:
    value = "-" if one.value is None else f"{one.value:.3f}"
    method = one.method or one.reason
    return {"name": name, "value": value, "interval": _interval(one), "n": str(one.n), "method": method}


def _interval(one: Estimate) -> str:
    return "no interval" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"


def _tabulate(subgroups: Subgroups) -> list[tuple[str, Mapping[str, Any]]]:
    tables: list[tuple[str, Mapping[str, Any]]] = []
    for column, groups in subgroups.items():
        names = [name for name in next(iter(groups.values()), {}) if name.startswith(SHOWN_OF_GROUPS)]
        rows = [
            {"name": group, "n": max((one.n for one in measures.values()), default=0),
             "cells": [_cell(measures.get(name)) for name in names]}
            for group, measures in groups.items()
        ]
        tables.append((column, {"names": names, "rows": rows}))
    return tables


def _cell(one: Estimate | None) -> str:
    if one is None or one.value is None:
        return "-"
    return f"{one.value:.3f}" if one.low is None else f"{one.value:.3f} ({one.low:.2f} to {one.high:.2f})"
