"""Explain every series below a path: a picture and a table of numbers each."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from seriatim.errors import ModelError, OutputError, reason_of
from seriatim.explanation.anomaly_files import write_frame_explanation
from seriatim.explanation.display import SliceView, fit_heat, show_slices, window_of
from seriatim.explanation.explanation import Explanation, unit_of
from seriatim.explanation.figure import draw_explanation
from seriatim.explanation.gradcam import grad_cam, slice_contributions
from seriatim.explanation.table import rank_by_attention, write_explanation_csv
from seriatim.io import find_series, read_volume
from seriatim.io.isolation.limits import Limits
from seriatim.io.tables.outputs import cell_text, make_folder, write_csv
from seriatim.series import Code, Series, Volume
from seriatim.series.findings import Action
from seriatim.tasks.predict import SeriesScores, embed_views, score_embeddings
from seriatim.trained import AnomalyModel, Model, is_anomaly_model, load_anomaly_model, load_model

logger = logging.getLogger(__name__)
COLUMNS = ("series_uid", "volume", "path", "status", "reason", "picture")
Explained = Model | AnomalyModel
Report = Callable[[int, int, Series, str], None]
"""(series done, series in all, the series, "" or why there is no picture)."""


def explain(
    path: Path | str,
    *,
    model: Path | str | Explained,
    output: Path | str,
    device: str = "auto",
    top: int = 6,
    only: Collection[str] | None = None,
    actions: Mapping[Code, Action] | None = None,
    limit: int | None = None,
    limits: Limits | None = None,
    report: Report | None = None,
) -> list[dict[str, str]]:
    """Write ``<series_uid>.png`` and ``<series_uid>.csv`` for every series below ``path``, and ``explanations.csv``.

    Of an anomaly model there is ``<series_uid>.html`` too, a page to go through the frames.

    Args:
        path: a folder (searched through), a file, or a ZIP archive or a folder in one.
        model: the run folder of a trained model, or what ``load_model`` or ``load_anomaly_model`` made of it.
        output: the folder for pictures and tables; made where it does not exist.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        top: how many of the most attended slices (of an anomaly model: frames) to show, at most 8.
        only: series UIDs to explain; all others are left alone.
        actions: what to do on findings, where it differs from what the model was trained with.
        limit: explain at most this many series.
        limits: time and memory for reading a series in its worker process, where not ``data.reading`` of the model.
        report: told after every series.

    Returns:
        The rows of ``explanations.csv``: series_uid, volume, path, status, reason, picture.

    Raises:
        InputError: ``path`` does not exist.
        ModelError: the model is incomplete, changed or does not fit.
        OutputError: ``output`` cannot be written.
    """
    loaded = _load(model, device=device, limits=limits)
    folder = make_folder(Path(output))
    data = loaded.experiment.data
    policy = {**data.findings, **(actions or {})}
    found = find_series(path, policy, sequence=data.sequence, limits=loaded.limits).series
    asked = [series for series in found if only is None or series.series_uid in only][:limit]
    names, rows = unique_names(asked), []
    for done, (series, name) in enumerate(zip(asked, names, strict=True), start=1):
        refusal = loaded.refuse(series)
        reason = refusal or _explain_into(folder, name, series, loaded, top=top)
        status = "refused" if refusal else ("failed" if reason else "explained")
        cells = [series.series_uid, series.volume, str(series.path), status, reason, "" if reason else f"{name}.png"]
        rows.append(dict(zip(COLUMNS, map(cell_text, cells), strict=True)))
        if report is not None:
            report(done, len(asked), series, reason)
    write_csv(folder / "explanations.csv", COLUMNS, rows)
    return rows


def explain_volume(volume: Volume, model: Model, *, top: int = 6) -> Explanation:
    """Explain one volume: scores, attention, contributions, and Grad-CAM on the ``top`` most attended slices.

    Raises:
        ValueError: ``top`` is not 1 to 8.
    """
    if not 1 <= top <= 8:
        raise ValueError(f"top must be 1 to 8, not {top}")
    series, slices = volume.series, model.prepare(volume)
    test_time = model.experiment.test_time
    views = [one.clone() for one in embed_views(model.network, slices, test_time)]
    scores = score_embeddings(model.network, model.task, *views, reverse_order=test_time.reverse_order)
    embeddings = views[0]  # gradients are those of the slices as they are
    chosen = int(scores.probabilities.argmax())
    attention = scores.attention.numpy()
    shown = tuple(int(index) for index in np.argsort(rank_by_attention(attention))[:top])
    view = show_slices(volume, shown, window_hu=window_of(model))
    name = model.task.class_names[chosen]
    return Explanation(
        series_uid=series.series_uid,
        label=name,
        probability=float(scores.probabilities[chosen]),
        prediction=describe_decision(model, scores),
        threshold=model.thresholds.get(name),
        axis=series.axis,
        unit=unit_of(series),
        positions=series.positions,
        attention=attention,
        contributions=slice_contributions(model.network, embeddings, class_index=chosen).double().cpu().numpy(),
        slice_scores=_slice_scores(model, scores),
        class_attention=dict(zip(model.task.class_names, scores.class_attention.T.numpy(), strict=True))
        if model.network.attends_by_class else {},
        sop_instance_uids=tuple(instance.sop_instance_uid for instance in series.instances),
        top=shown,
        images=view.images,
        heat=_heat(volume, model, slices, embeddings, chosen=chosen, shown=shown, view=view),
        letters=view.letters,
        window_text=view.window_text,
        findings=tuple(str(finding.code) for finding in series.findings),
        model_name=model.experiment.name,
        model_digest=model.digest,
    )


def describe_decision(model: Model, scores: SeriesScores) -> str:
    """The model's answer in words: the class name, or for a binary question its label or "no" label."""
    decided = model.task.decide(scores.probabilities.numpy(), model.thresholds)
    if model.experiment.task.target != "binary":
        return decided or "none"
    name = model.task.class_names[0]
    return name if decided == "1" else f"no {name}"


def file_name(series: Series) -> str:
    """A file name from UIDs alone, safe whatever the tags hold."""
    text = series.series_uid + (f"_{series.volume}" if series.volume else "")
    return re.sub(r"[^0-9A-Za-z.-]+", "_", text).strip("._")[:120] or "series"


def unique_names(found: Sequence[Series]) -> list[str]:
    """A file name for each series; where two would share one, each gets a number."""
    names = [file_name(series) for series in found]
    total, seen = Counter(name.lower() for name in names), Counter[str]()
    unique = []
    for name in names:
        seen[name.lower()] += 1
        unique.append(name if total[name.lower()] == 1 else f"{name}-{seen[name.lower()]}")
    return unique


def _load(model: Path | str | Explained, *, device: str, limits: Limits | None) -> Explained:
    if isinstance(model, Path | str):
        model = (load_anomaly_model if is_anomaly_model(Path(model)) else load_model)(model, device=device)
    return model if limits is None else model.with_limits(limits)


def _explain_into(folder: Path, name: str, series: Series, model: Explained, *, top: int) -> str:
    """Write the picture and the table of one series; why there is none, or ""."""
    try:
        volume = read_volume(series, limits=model.limits)
        shown = min(top, len(series.instances))
        if isinstance(model, AnomalyModel):
            write_frame_explanation(volume, model, folder / name, top=shown)
        else:
            explanation = explain_volume(volume, model, top=shown)
            draw_explanation(explanation, folder / f"{name}.png")
            write_explanation_csv(explanation, folder / f"{name}.csv")
    except OutputError:
        raise  # the folder is at fault, and every series would fail alike
    except Exception as error:  # noqa: BLE001 - the boundary: one bad series must never stop the others
        logger.warning("series %s failed: %s", series.series_uid, type(error).__name__)
        return reason_of(error, files=series.files)
    return ""


def _heat(
    volume: Volume,
    model: Model,
    slices: Tensor,
    embeddings: Tensor,
    *,
    chosen: int,
    shown: Sequence[int],
    view: SliceView,
) -> NDArray[np.float32] | None:
    """Grad-CAM on the display grid; None for an encoder without feature maps."""
    device = next(model.network.parameters()).device
    try:
        maps = grad_cam(
            model.network, slices.to(device), class_index=chosen, slice_indices=shown, embeddings=embeddings
        )
    except ModelError as error:
        logger.info("no Grad-CAM: %s", error)
        return None
    on_slices = model.experiment.preprocessing.placement(volume).invert(maps.detach().cpu())
    return fit_heat(on_slices, images=view.images)


def _slice_scores(model: Model, scores: SeriesScores) -> dict[str, NDArray[np.float64]]:
    if not model.task.scores_slices:
        return {}
    return dict(zip(model.task.class_names, scores.slice_probabilities.T.numpy(), strict=True))
