"""Anomaly methods against each other on real sequences: anomalies planted into normal ones, and real abnormal ones.

usage: anomaly.py planted|real|events CONFIG OUT [--folds 0 1 2 3] [--set KEY=VALUE ...]

``planted``: one anomaly of every kind of ``seriatim.synth.planted`` is put into each normal sequence of a left-out
fold (frames of another patient for ``spliced``), and each method ranks the frames within the sequence: the area under
the ROC curve of its frames, mean over the sequences. ``real``: the left-out fold as it is; AUC of sequences, and of
frames where ``data.slice_labels`` tells them. 95 % intervals are percentile bootstraps over sequences (planted) or
patients (real). ``events``: what ``task.release`` does to events at some rates of false alarms, on normal sequences of
validation as they are and with planted anomalies; the left-out fold is not looked at.
Trains one model per fold into OUT/fold<N>, and goes on there when called again. Writes OUT/planted.md, OUT/real.md or
OUT/events.md.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seriatim.evaluation.events import EventCounts, count_events
from seriatim.experiment import AnomalyExperiment, read_experiment
from seriatim.io import read_volume
from seriatim.models.detectors import Evidence
from seriatim.scoring.batch import score_found
from seriatim.synth.planted import KINDS, ORDER_KINDS, plant
from seriatim.tasks.anomaly import FrameScores
from seriatim.tasks.events import find_events, runs_of
from seriatim.tasks.metrics import roc_auc
from seriatim.tasks.normality import fuse
from seriatim.tasks.profile import place_frames
from seriatim.trained.anomaly import AnomalyModel, load_anomaly_model
from seriatim.training import train
from seriatim.training.examples import Example, gather_examples
from seriatim.training.split import Split

Array = NDArray[np.float64]
FUSIONS: Mapping[str, tuple[str, ...]] = {
    "cloze (both parts)": ("cloze", "cloze_motion"),
    "causal (both parts)": ("causal", "causal_motion"),
    "memory": ("memory",),
    "gaussian": ("gaussian",),
    "future": ("future",),
    "supervised": ("supervised",),
    "order-blind (memory + gaussian)": ("memory", "gaussian"),
    "all": (),
}
FEWEST = 12
RATES = (0.01, 0.05, 0.2)
RELEASES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(ACTIONS))
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--folds", nargs="+", default=["0", "1", "2", "3"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    measure_fold, describe = ACTIONS[args.what]
    rows: list[dict[str, Any]] = []
    for fold in args.folds:
        store = f"training.embedding_store={args.out / 'store'}"
        experiment = read_experiment(args.config, [f"data.fold={fold}", store, *args.overrides])
        assert isinstance(experiment, AnomalyExperiment)
        run = args.out / f"fold{fold}" / "run"
        if not (run / "model.json").is_file():
            train(experiment, run, resume=run.is_dir() and (run / "config.yaml").is_file())
        rows += list(measure_fold(experiment, load_anomaly_model(run)))
        print(f"fold {fold}: {len(rows)} rows so far", flush=True)
    table = describe(rows)
    (args.out / f"{args.what}.md").write_text(table)
    print(table)


def plant_fold(experiment: AnomalyExperiment, model: AnomalyModel) -> Iterator[dict[str, Any]]:
    """A row per normal sequence of the left-out fold, kind of anomaly and method: its AUC over the frames."""
    for index, kind, abnormal, scores in plant_split(experiment, model, split="test"):
        if kind:
            yield from (
                {"kind": kind, "method": name, "sequence": f"{experiment.data.fold}/{index}",
                 "auc": roc_auc(abnormal.astype(int), values)}
                for name, values in fuse_by_method(scores).items()
            )


def plant_split(
    experiment: AnomalyExperiment, model: AnomalyModel, *, split: Split
) -> Iterator[tuple[int, str, NDArray[np.bool_], FrameScores]]:
    """(index, kind, abnormal frames, scores) of every normal sequence: as it is, with kind "", and with each kind."""
    rng = np.random.default_rng(experiment.seed)
    normal = [one for one in examples_of(experiment, split)
              if one.labels[0] == 0.0 and len(one.series.instances) >= FEWEST]
    clips = [model.prepare(read_volume(one.series)) for one in normal]
    for index, (example, slices) in enumerate(zip(normal, clips, strict=True)):
        maps = encode(model, slices)
        yield index, "", np.zeros(len(slices), dtype=bool), judge(model, slices, maps)
        others = [clip for one, clip in zip(normal, clips, strict=True) if one.case.patient != example.case.patient]
        for kind in KINDS:
            other = pictures(others[int(rng.integers(len(others)))]) if others else None
            if kind == "spliced" and other is None:
                continue
            planted = plant(pictures(slices), kind, rng, other=other)
            frames = torch.from_numpy(planted.frames).movedim(-1, 1).contiguous()
            seen = maps[torch.from_numpy(np.maximum(planted.source, 0))].clone()
            if kind not in ORDER_KINDS:
                seen[planted.abnormal] = encode(model, frames[planted.abnormal])
            yield index, kind, planted.abnormal, judge(model, frames, seen)


def find_in_fold(experiment: AnomalyExperiment, model: AnomalyModel) -> Iterator[dict[str, Any]]:
    """A row per normal sequence of validation, kind of anomaly ("": none), rate and release: its events."""
    settings = model.task.settings
    for _, kind, abnormal, scores in plant_split(experiment, model, split="val"):
        for rate, release in product(RATES, RELEASES):
            threshold = -float(np.log(rate))
            events = find_events(scores.surprise, threshold=threshold, release=release * threshold,
                                 least_frames=settings.least_frames, most_gap=settings.most_gap)
            spans = [(one.start, one.stop) for one in events]
            longest = max((stop - start for start, stop in spans), default=0)
            yield {"kind": kind, "rate": rate, "release": release, "counts": count_events(spans, runs_of(abnormal)),
                   "longest": longest / len(abnormal), "inside": sum(stop - start for start, stop in spans),
                   "frames": len(abnormal)}


def describe_events(rows: list[dict[str, Any]]) -> str:
    heads = ["false_alarm_rate", "release", "normal frames in events", "normal clips half in one event",
             "precision", "recall", "longest event of a planted clip, median share of it"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for rate, release in product(RATES, RELEASES):
        own = [row for row in rows if (row["rate"], row["release"]) == (rate, release)]
        normal, planted = ([row for row in own if bool(row["kind"]) == flag] for flag in (False, True))
        counts = sum((row["counts"] for row in planted), EventCounts())
        inside = sum(row["inside"] for row in normal) / sum(row["frames"] for row in normal)
        half = np.mean([row["longest"] >= 0.5 for row in normal])
        length = np.median([row["longest"] for row in planted if row["longest"]])
        lines.append(f"| {rate:g} | {release:g} | {100 * inside:.1f} % | {100 * half:.1f} % | "
                     f"{counts.precision or 0:.3f} | {counts.recall or 0:.3f} | {length:.2f} |")
    return "\n".join(lines) + f"\n\n{len(rows) // len(RELEASES) // len(RATES)} sequences, planted ones counted.\n"


def pictures(slices: torch.Tensor) -> Array:
    """(S,C,H,W) slices as pictures (S,H,W,C), which is what anomalies are planted into."""
    return np.ascontiguousarray(slices.movedim(1, -1).numpy())


def examples_of(experiment: AnomalyExperiment, split: Split) -> tuple[Example, ...]:
    """The usable sequences of a split with their labels; "test" is the left-out fold."""
    return gather_examples(experiment, experiment.task.build(), check=lambda _: None).of(split)


def encode(model: AnomalyModel, slices: torch.Tensor) -> torch.Tensor:
    """The encoder's maps of every slice, computed once for all kinds."""
    with torch.inference_mode():
        return torch.cat([model.network.encoder.feature_maps(one[None]) for one in slices]).clone()


def judge(model: AnomalyModel, slices: torch.Tensor, maps: torch.Tensor) -> FrameScores:
    with torch.inference_mode():
        seen = {"slices": slices, "maps": maps, "embeddings": model.network.encoder.pool_maps(maps)}
        evidence: list[Evidence] = [one.examine(seen[one.reads]) for one in model.network.methods]
        return model.task.judge(evidence, place_frames(np.arange(len(slices), dtype=np.float64)))


def fuse_by_method(scores: FrameScores) -> dict[str, Array]:
    """The surprise of each method: the mean of its parts', as the package fuses them; 0 where they say nothing."""
    found = {}
    for name, parts in FUSIONS.items():
        members = [scores.parts[part] for part in parts if part in scores.parts]
        if not parts:
            found[name] = scores.surprise
        elif len(members) == len(parts):
            found[name] = np.nan_to_num(fuse(np.stack(members)))
    return found


def describe_planted(rows: list[dict[str, Any]]) -> str:
    methods = [name for name in FUSIONS if any(row["method"] == name for row in rows)]
    lines = ["| anomaly | n | " + " | ".join(methods) + " |", "|---|---|" + "---|" * len(methods)]
    for kind in KINDS:
        values = {name: np.array([row["auc"] for row in rows if (row["kind"], row["method"]) == (kind, name)])
                  for name in methods}
        cells = [show(found, np.arange(len(found)), lambda chosen: float(chosen.mean())) for found in values.values()]
        lines.append(f"| {kind} | {len(values[methods[0]])} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def score_fold(experiment: AnomalyExperiment, model: AnomalyModel) -> Iterator[dict[str, Any]]:
    """A row per frame of the left-out fold, with its surprise by each method and the truth."""
    folder = model.path.parent / "scores"
    held_out = {one.series.series_uid: one for one in examples_of(experiment, "test")}
    if not (folder / "run.json").is_file():
        score_found([one.series for one in held_out.values()], model=model, output=folder, device="cpu")
    levels = {row["series_uid"]: row for row in read_rows(folder / "scores.csv")}
    for row in read_rows(folder / "slices.csv"):
        example = held_out[row["series_uid"]]
        parts = {name.removeprefix("surprise_"): np.array([float(value) if value else np.nan])
                 for name, value in row.items() if name.startswith("surprise_")}
        level = float(row[f"score_{model.task.class_names[0]}"])
        told = FrameScores(surprise=np.array([level / (1 - level)]), parts=parts, levels=np.array([level]), level=level,
                           events=(), places=None)
        yield {"patient": example.case.patient, "sequence": row["series_uid"], "label": example.labels[0],
               "frame_label": float(example.slice_labels[int(row["index"]), 0]),
               "level": float(levels[row["series_uid"]][f"probability_{model.task.class_names[0]}"]),
               **{name: float(values[0]) for name, values in fuse_by_method(told).items()}}


def describe_real(rows: list[dict[str, Any]]) -> str:
    methods = [name for name in FUSIONS if name in rows[0]]
    lines = ["| method | AUC of sequences (mean of the 3 highest frames) | AUC of frames |", "|---|---|---|"]
    lines += [f"| {name} | {_sequences(rows, name)} | {_frames(rows, name)} |" for name in methods]
    count = len({row["sequence"] for row in rows})
    return "\n".join(lines) + f"\n\n{count} sequences of {len({row['patient'] for row in rows})} patients.\n"


def _sequences(rows: list[dict[str, Any]], name: str) -> str:
    by_sequence: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_sequence.setdefault(row["sequence"], []).append(row)
    values = np.array([np.sort([row[name] for row in own])[-3:].mean() for own in by_sequence.values()])
    labels = np.array([own[0]["label"] for own in by_sequence.values()])
    patients = np.array([own[0]["patient"] for own in by_sequence.values()])
    return show(np.stack([labels, values], axis=1), patients, measure)


def _frames(rows: list[dict[str, Any]], name: str) -> str:
    known = [row for row in rows if row["frame_label"] in (0.0, 1.0)]
    if not known:
        return "no frame is labelled"
    table = np.array([[row["frame_label"], row[name]] for row in known])
    patients = np.array([row["patient"] for row in known])
    return show(table, patients, measure)


def measure(rows: Array) -> float:
    """The AUC of (N,2) labels and values."""
    return roc_auc(rows[:, 0].astype(int), rows[:, 1])


def show(values: Array, clusters: NDArray[Any], statistic: Callable[[Array], float]) -> str:
    """A statistic of rows and its percentile interval over resampled clusters."""
    rng, names = np.random.default_rng(0), np.unique(clusters)
    places = [np.flatnonzero(clusters == name) for name in names]
    found = []
    for _ in range(RESAMPLES):
        chosen = np.concatenate([places[one] for one in rng.integers(len(names), size=len(names))])
        if values.ndim == 1 or len(np.unique(values[chosen, 0])) == 2:
            found.append(statistic(values[chosen]))
    low, high = np.percentile(found, [2.5, 97.5])
    return f"{statistic(values):.3f} ({low:.3f} to {high:.3f})"


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


ACTIONS = {"planted": (plant_fold, describe_planted), "real": (score_fold, describe_real),
           "events": (find_in_fold, describe_events)}

if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
