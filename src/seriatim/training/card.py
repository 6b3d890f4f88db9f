"""The model card: what the model is, what it saw, what it reached, where it must not be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from seriatim import __version__
from seriatim.experiment import Experiment
from seriatim.trained import Envelope
from seriatim.training.examples import Examples


def write_card(
    run: Path,
    *,
    experiment: Experiment,
    examples: Examples,
    envelope: Envelope,
    results: Mapping[str, Mapping[str, float]],
) -> None:
    """Write ``card.md``. ``results`` holds ``metrics``, ``thresholds`` and ``one_sided``, all from this run."""
    (run / "card.md").write_text("\n".join(_lines(experiment, examples, envelope, results)) + "\n", encoding="utf-8")


def _lines(
    experiment: Experiment, examples: Examples, envelope: Envelope, results: Mapping[str, Mapping[str, float]]
) -> Iterator[str]:
    task, network = experiment.task, experiment.network
    yield f"# Model card: {experiment.name}"
    yield f"\nMade by seriatim {__version__}. **Research use only; not a medical device.**"
    yield "\n## What it does"
    yield f"Reads an ordered series and answers a {task.target} question: {', '.join(task.classes or task.labels)}."
    yield f"Encoder {_encoder(experiment)}, sequence model {network.temporal.kind}, pooling {network.pooling.kind}."
    yield "\n## What it was trained on"
    yield "| split | series | patients |\n|---|---|---|"
    proof = examples.proof["splits"]
    assert isinstance(proof, dict)
    for name, counts in proof.items():
        yield f"| {name} | {counts['series']} | {counts['patients']} |"
    yield f"\nPatients in two splits: {examples.proof['patients_in_two_splits']}."
    yield f"Manifest rows left out: {len(examples.left_out)}."
    yield "\n## Input it is made for"
    yield f"- modality: {', '.join(envelope.modalities)}; axis: {envelope.axis}"
    if envelope.planes:
        yield f"- plane: {', '.join(envelope.planes)}; others are refused"
    yield f"- slices per series: {envelope.slices[0]} to {envelope.slices[1]}"
    if envelope.slice_spacing_mm:
        yield f"- slice spacing: {envelope.slice_spacing_mm[0]:.2f} to {envelope.slice_spacing_mm[1]:.2f} mm"
    yield "\n## Validation (chose the kept epoch and the thresholds: optimistic, not a test result)"
    yield from _table(results["metrics"], "metric")
    if results["thresholds"]:
        reached = task.target_sensitivity
        how = f"for a sensitivity of {reached:g}" if reached else "by Youden's index"
        yield f"\nThresholds, {how} on validation:\n"
        yield from _table(results["thresholds"], "class")
    for name in results["one_sided"]:
        yield f"\nNo threshold could be chosen for {name}: validation holds one class only, and 0.5 stands in."
    yield "\n## Limits"
    yield "- Not tested on scanners, hospitals, protocols or patients beyond the manifest."
    yield "- Attention says which slices the model weighed, not why."
    if task.calibration == "none":
        yield "- Probabilities are not calibrated."
    else:
        yield f"- Probabilities are calibrated ({task.calibration}) on validation, which also chose the kept epoch."


def _encoder(experiment: Experiment) -> str:
    encoder = experiment.network.encoder
    return (
        encoder.kind
        if encoder.kind != "torchvision"
        else f"{encoder.name} ({'pretrained' if encoder.weights else 'from scratch'})"
    )


def _table(values: Mapping[str, float], first: str) -> Iterator[str]:
    yield f"| {first} | value |\n|---|---|"
    for name, value in values.items():
        yield f"| {name} | {value:.4f} |"
