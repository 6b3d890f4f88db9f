"""POCUS lung ultrasound clips: covid, pneumonia or regular, convex probe.

Two forms are known. The publisher's repository (github.com/jannisborn/covid19_ultrasound): the class is the beginning
of a video's name in ``data/pocus_videos/convex`` (data/README.md at 02dc74c and the listing of that folder), and
``data/dataset_metadata.csv`` (at 0a741f5) has licence, source and patient of most. And a derived form: ``index.csv``
beside ``frames/<video_id>/*.jpg``.
Paper: Born et al. 2021, doi:10.3390/app11020672.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from seriatim.datasets.checks import NO_CHECKSUM, digest
from seriatim.datasets.dataset import Dataset, Licence, Prepared, PublishedFile
from seriatim.datasets.folds import deal_groups
from seriatim.datasets.tree import list_files, locate, read_rows, relative
from seriatim.errors import InputError
from seriatim.io.tables.outputs import write_csv

PAGE = "https://github.com/jannisborn/covid19_ultrasound"
FILE = PublishedFile(
    name="covid19_ultrasound-master.zip", url=f"{PAGE}/archive/refs/heads/master.zip", most_bytes=1 << 32
)
CLASSES = {"cov": "covid", "pneu": "pneumonia", "reg": "regular"}
"""By the beginning of a name. ``vir`` (three clips of viral pneumonia) is too few to learn."""
Clip = TypeVar("Clip")
VIDEOS = (".avi", ".gif", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
COLUMNS = ("path", "label", "patient", "fold", "licence")
NAME = re.compile(r"(cov|pneu|reg|vir)[-_+ ]*(.*)", re.IGNORECASE)
CLIP = re.compile(r"(?:clip|vid|video|file|image|img|mov|day|v)?\d+")
CLIP_WORDS = frozenset({"clip", "vid", "video", "file", "image", "img", "mov", "day"})
EDITS = frozenset({"trimmed", "crop"})
CONFOUNDED = (
    "The class goes with the source and its device: most covid clips are from a few sources, most regular ones from "
    "one. Figures are too good, and no clinical claim."
)
GROUPS = (
    "`patient` is a group, made larger rather than smaller: clips with one source and patient number, and clips of one "
    "recording set, case or publication by their names, whatever their class."
)


def prepare(material: Path, output: Path) -> Prepared:
    """Write ``labels.csv``: clips used in place, label, group, fold, and the licence of each.

    Raises:
        InputError: neither form is there.
    """
    found = locate(material, FILE)
    index = found / "index.csv"
    rows, notes = _derived(index) if found.is_dir() and index.is_file() else _published(found)
    places = [{**row, "path": relative(Path(row["path"]), output)} for row in rows]
    write_csv(output / "labels.csv", COLUMNS, places)
    sources = tuple(_sources(found, rows))
    counts = ", ".join(f"{sum(row['label'] == label for row in rows)} {label}" for label in CLASSES.values())
    return Prepared(
        series=len(rows), config=_config(), sources=sources, check=NO_CHECKSUM, notes=(counts, *notes, CONFOUNDED)
    )


def group_clips(keys: Mapping[Clip, Iterable[str]]) -> dict[Clip, str]:
    """The group of each clip: those that share a key, directly or through others, are one; the first key names it."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for own in keys.values():
        first, *others = own
        for key in others:
            parent[root(key)] = root(first)
    return {clip: root(next(iter(own))) for clip, own in keys.items()}


def recording(name: str) -> str:
    """What a clip's name says of its recording set: without class, clip number and what was done to it."""
    found = NAME.match(name)
    rest = (found[2] if found else name).lower().replace("liftl", "litfl")
    words = [word for word in re.split(r"[-_+() ]+|pneu(?!m)", rest) if word and word not in EDITS]
    kept = words[:-1] if words and CLIP.fullmatch(words[-1]) else list(words)
    if kept and kept[-1] in CLIP_WORDS:
        kept = kept[:-1]
    return "_".join(kept or words[:1]) or "unnamed"


def _published(found: Path) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    files = list_files(found)
    clips = {path: match for path in files if (match := _as_clip(path))}
    if not clips:
        raise InputError(f"{found} holds no data/pocus_videos/convex with videos, and no index.csv with frames. "
                         f"{DATASET.by_hand}")
    tables = [path for path in files if path.name == "dataset_metadata.csv"]
    known = {_plain(row.get("Filename", "")): row for row in read_rows(tables[0])} if tables else {}
    about = {path: known.get(_plain(path.stem), {}) for path in clips}
    digests = {path: digest(path, "sha256") for path in clips}
    groups = group_clips({path: [*_keys(path.stem, about[path]), digests[path]] for path in clips})
    once = _drop_copies(clips, digests)
    folds = deal_groups((groups[path], label) for path, label in once.items())
    rows = [
        {"path": str(path), "label": label, "patient": groups[path], "fold": folds[groups[path]],
         "licence": about[path].get("License", "")}
        for path, label in once.items()
    ]
    unknown = sum(not row["licence"] for row in rows)
    others = sum(not label for label in clips.values())
    notes = [GROUPS, f"{others} clips of other classes were left out."]
    if copies := len(clips) - others - len(rows):
        notes.append(f"{copies} clips were left out as copies: equal bytes under two names, or under two classes.")
    notes += [f"{unknown} clips have no licence in the publisher's table."] if unknown else []
    return rows, tuple(notes)


def _drop_copies(clips: Mapping[Path, str], digests: Mapping[Path, str]) -> dict[Path, str]:
    """The clips of the three classes, each once; none of those that stand under two classes."""
    labels: dict[str, set[str]] = {}
    for path, label in clips.items():
        labels.setdefault(digests[path], set()).add(label)
    first: dict[str, Path] = {}
    for path in clips:
        first.setdefault(digests[path], path)
    return {path: clips[path] for path in first.values() if clips[path] and len(labels[digests[path]]) == 1}


def _as_clip(path: Path) -> str | None:
    """The label of a video of the convex probe, "" where it is of another class; None for any other file."""
    folders = [part.lower() for part in path.parts[-3:-1]]
    match = NAME.match(path.name)
    if folders != ["pocus_videos", "convex"] or path.suffix.lower() not in VIDEOS or match is None:
        return None
    return CLASSES.get(match[1].lower(), "")


def _keys(name: str, row: Mapping[str, str]) -> Iterator[str]:
    yield recording(name)
    source, patient = row.get("Source ID", ""), row.get("Patient ID / Name", "")
    if source and patient:
        yield f"source {source} patient {patient}"


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _derived(index: Path) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    table = read_rows(index)
    needed = {"video_id", "probe", "label", "group", "fold_grouped"}
    if not table or not needed <= table[0].keys():
        raise InputError(f"{index} needs the columns {', '.join(sorted(needed))}.")
    wanted = [row for row in table if row["probe"] == "convex" and row["label"] in CLASSES.values()]
    rows = [
        {"path": str(index.parent / "frames" / row["video_id"]), "label": row["label"], "patient": row["group"],
         "fold": row["fold_grouped"], "licence": row.get("license", "")}
        for row in wanted
    ]
    absent = [row for row in rows if not Path(row["path"]).is_dir()]
    if absent:
        raise InputError(f"{len(absent)} of {len(rows)} folders of frames/ are missing. Copy the set again.")
    others = f"{len(table) - len(rows)} clips of other classes or probes were left out."
    return rows, ("A derived form: frames as JPEG, groups and folds as its index.csv has them.", others)


def _sources(found: Path, rows: Iterable[Mapping[str, str]]) -> Iterator[Path]:
    if found.is_file():
        yield found
        return
    if (found / "index.csv").is_file():
        yield found / "index.csv"
    for row in rows:
        path = Path(row["path"])
        yield from [path] if path.is_file() else sorted(one for one in path.iterdir() if one.is_file())


def _config() -> dict[str, Any]:
    """Frames of a clip look alike and groups are few: a small network, and much regularization."""
    return {
        "data": {"fold": "0"},
        "preprocessing": {"kind": "intensity", "size": 112},
        "augmentation": {"rotate_degrees": 10, "scale": 0.1, "translate": 0.05, "intensity_scale": 0.2},
        "network": {
            "encoder": {"kind": "small_cnn"},
            "temporal": {"kind": "lstm", "hidden": 32},
            "pooling": {"kind": "attention"},
            "dropout": 0.5,
        },
        "task": {"kind": "diagnosis", "target": "multiclass", "labels": ["label"], "classes": list(CLASSES.values()),
                 "class_weights": "balanced"},
        "training": {"epochs": 15, "batch_size": 4, "max_slices": 16, "learning_rate": 1.0e-3, "weight_decay": 0.05},
    }


DATASET = Dataset(
    name="pocus",
    title="lung ultrasound clips, convex probe",
    task="covid, pneumonia, regular",
    size="159 clips by its read-me; download size not published",
    licence=Licence(
        name="per clip: CC BY, CC BY-NC, CC BY-NC-SA and others",
        url=f"{PAGE}/blob/master/data/README.md",
        note="Each clip's licence is in the column licence of labels.csv; many forbid commercial use.",
    ),
    citation=(
        "Born J, Wiedemann N, Cossio M, et al. Accelerating detection of lung pathologies with explainable ultrasound "
        "image analysis. Applied Sciences 11(2), 672 (2021). doi:10.3390/app11020672; and the source of each clip."
    ),
    page=PAGE,
    file=FILE,
    forms=f"{FILE.name}, the repository's folder, or a folder with index.csv and frames/",
    prepare=prepare,
)
