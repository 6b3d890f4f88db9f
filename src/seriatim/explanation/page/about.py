"""What a page says of the model: what it was asked, how it decides, what it has seen, and what that means here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from seriatim.errors import leave_out
from seriatim.explanation.figure import shorten
from seriatim.explanation.page.content import Panel, plain
from seriatim.explanation.words import tell_calibration, tell_stand_ins
from seriatim.series import Series
from seriatim.trained import Ensemble, Model, Scorer, load_ensemble
from seriatim.trained.ensemble import VALIDATION
from seriatim.trained.envelope import Envelope

Term = tuple[str, str]
KINDS = {"binary": "yes or no", "multiclass": "one of several classes", "multilabel": "several findings",
         "regression": "numbers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What a page says of a model: ``terms`` with their words, what its probability means, and by what its
    thresholds were chosen.
    """

    terms: tuple[Term, ...]
    sentence: str = ""
    threshold_source: str = ""


def tell_model(model: Scorer | Model) -> ModelFacts:
    """Gather what stands in a model's description, or in those of several that score as one."""
    if isinstance(model, Model):
        model = load_ensemble([model])
    terms = [("name", plain(model.experiment.name)), ("digest (SHA-256)", model.digest)]
    if not isinstance(model, Ensemble):
        terms.append(("methods", ", ".join(one.kind for one in model.task.settings.methods)))
        terms.append(("threshold", f"score 0.5, set on {model.thresholds_from}"))
        return ModelFacts(terms=(*terms, *_tell_envelope(model.envelope)))
    if len(model.members) > 1:
        terms.append(("models", f"the mean of {len(model.members)}; what follows is of the first"))
    terms += [*_tell_question(model), *_tell_envelope(model.members[0].envelope)]
    return ModelFacts(terms=tuple(terms), sentence=tell_calibration(model), threshold_source=_tell_source(model))


def tell_series(series: Series, noticed: Sequence[str]) -> Panel:
    """The findings of a series in words.

    ``noticed`` are codes, those of discovery among them. File names, which may name a patient, are left out.
    """
    words = {str(one.code): leave_out(series.files, one.full_message) for one in series.findings}
    codes = [code.partition(":")[0] for code in noticed]
    size = f"{series.columns} × {series.rows} pixels"
    spacing = "" if series.spacing_mm is None else " × ".join(f"{one:.3g}" for one in series.spacing_mm) + " mm"
    terms = [("modality", plain(series.modality)), ("size", size), ("spacing", spacing),
             *((shorten(code), plain(words.get(code, "noticed"))) for code in codes)]
    return Panel(title="This series", terms=tuple((term, said) for term, said in terms if said))


def _tell_question(model: Ensemble) -> list[Term]:
    task, network = model.task, model.experiment.network
    decided = ", ".join(f"{plain(name)} {value:.3g}" for name, value in model.thresholds.items())
    coverage = model.experiment.task.coverage if len(model.members) == 1 else None
    parts = (getattr(network.encoder, "name", network.encoder.kind), network.temporal.kind, network.pooling.kind)
    return [
        ("asks", f"{KINDS[model.experiment.task.target]}: {', '.join(plain(name) for name in task.class_names)}"),
        ("network", f"encoder {parts[0]}, sequence {parts[1]}, pooling {parts[2]}"),
        *([("threshold", f"{decided}; {_tell_source(model)}")] if decided else []),
        ("calibration", "none" if task.calibration is None else f"{task.calibration.kind}, fitted on validation"),
        *([("prediction sets", f"hold the truth in {100 * coverage:g} of 100 series like those of validation")]
          if coverage is not None else []),
    ]


def _tell_source(model: Ensemble) -> str:
    source = plain(model.thresholds_from)
    told = f"chosen on {source}" if model.thresholds_from == VALIDATION else source
    if not model.stand_ins:
        return told
    exception = plain(tell_stand_ins(model.stand_ins))
    return exception if {*model.stand_ins} == {*model.thresholds} else f"{told}; {exception}"


def _tell_envelope(envelope: Envelope) -> list[Term]:
    """What the model was trained on: it was validated on nothing else."""
    low, high = envelope.slices
    seen = [
        ", ".join(envelope.modalities), ", ".join(envelope.planes),
        f"{low} to {high} {'frames' if envelope.axis == 'time' else 'slices'}",
        "{:.3g} to {:.3g} mm apart".format(*envelope.slice_spacing_mm) if envelope.slice_spacing_mm else "",
        ", ".join(envelope.body_parts),
    ]
    return [("trained on", plain("; ".join(one for one in seen if one)))]
