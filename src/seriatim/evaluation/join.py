"""Which label belongs to which score: by series UID where labels.csv gives one, else by path."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from seriatim.errors import ConfigError
from seriatim.evaluation.intervals import Clusters
from seriatim.evaluation.paths import Paths, tell_line, tell_twice
from seriatim.evaluation.scores import Row, Scores
from seriatim.io.tables.manifest import read_table

LEFT_OUT = "left out"
PATIENT = "patient"
TRAINED_ON = "the model was trained or tuned on them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A label row and the score row of its series.

    ``row`` is the index of the label row, ``file`` that of the scores.csv it stands in; ``found_by`` is
    ``series_uid``, ``path`` or ``end of path``, ``place`` where the label's own path leads (else the score's);
    ``patient`` is "" where the labels do not tell whose it is.
    """

    row: int
    label: Row
    score: Row
    file: int
    found_by: str
    place: Path
    patient: str = ""

    @property
    def trained_on(self) -> bool:
        """Whether the model learned from the series, with its label or perhaps without, or was chosen by it."""
        return self.score.get("split", "").lower() in ("train", "val", "unlabelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A labelled series that is not evaluated, and why."""

    series: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Every row of labels.csv: to evaluate (``pairs``), or ``missing``. ``unlabelled`` scored series have no label row.

    ``joined_by`` counts the label rows that have a score row, by what it was found by.
    """

    pairs: tuple[Pair, ...]
    missing: tuple[Missing, ...]
    unlabelled: int
    joined_by: dict[str, int]

    @property
    def labelled(self) -> int:
        return len(self.pairs) + len(self.missing)

    @property
    def left_out(self) -> int:
        """Series that are not evaluated because the model was trained or tuned on them."""
        return sum(one.status == LEFT_OUT for one in self.missing)

    @property
    def trained_on(self) -> int:
        """Series that are evaluated although the model was trained or tuned on them."""
        return sum(pair.trained_on for pair in self.pairs)


def join(
    scores: Sequence[Scores], labels_path: Path, *, include_training: bool = False, patient: str = PATIENT
) -> Joined:
    """Find the score of every label row.

    A row with ``series_uid`` (with ``study_uid`` and ``volume``, where several series share it) is found by it. Another
    is found by ``path``, relative to the folder of labels.csv: as the same file or folder or the nearest one above the
    series, else by the end of the path below one common folder. Scores of series that the model was trained or tuned on
    (column ``split``) are left out unless ``include_training``. ``patient`` is the column that says whose a series is.

    Raises:
        ConfigError: a series has two labels, a label fits several scored series, no label fits any, or there is no such
            column, and it is not the usual one.
    """
    rows = read_table(labels_path)
    if "series_uid" not in rows[0] and "path" not in rows[0]:
        raise ConfigError(f"{labels_path} has neither a column series_uid nor path; it has {', '.join(rows[0])}.")
    if patient not in rows[0] and patient != PATIENT:
        raise ConfigError(f"{labels_path} has no column {patient!r} of patients; it has {', '.join(rows[0])}.")
    by_uid, by_path = _Uids(rows, labels_path=labels_path), Paths(rows, labels_path=labels_path)
    matches: dict[int, list[Pair]] = defaultdict(list)
    unlabelled = 0

    def add(index: int, row: Row, *, file: int, found_by: str) -> None:
        given = rows[index].get("path")
        place = (labels_path.parent / given if given else Path(row["path"])).resolve()
        matches[index].append(Pair(row=index, label=rows[index], score=row, file=file, found_by=found_by, place=place,
                                   patient=rows[index].get(patient, "")))

    for file, one in enumerate(scores):
        rest = []
        for row in one.rows:
            index = by_uid.find(row)
            if index is None:
                rest.append(row)
            else:
                add(index, row, file=file, found_by="series_uid")
        for row, found in zip(rest, by_path.match(rest), strict=True):
            if found is None:
                unlabelled += row["status"] == "scored"
            else:
                add(found[0], row, file=file, found_by=found[1])
    if not matches:
        raise ConfigError(
            f"No row of {labels_path} fits a series of {scores[0].path}. Give labels a series_uid column, or paths "
            "relative to the folder of the labels; a study_uid must be that of the scores. The first scored path is "
            f"{scores[0].rows[0]['path']!r}."
        )
    chosen = {  # in the order of the labels, so that resamples do not depend on that of the files
        index: _only_one(pairs, where=tell_line(labels_path, index), include_training=include_training)
        for index, pairs in sorted(matches.items())
    }
    missing = {index: _explain(row, chosen.get(index), include_training) for index, row in enumerate(rows)}
    return Joined(
        pairs=tuple(pair for index, pair in chosen.items() if missing[index] is None),
        missing=tuple(one for one in missing.values() if one is not None),
        unlabelled=unlabelled,
        joined_by=dict(Counter(pair.found_by for pair in chosen.values())),
    )


def cluster(pairs: Sequence[Pair]) -> tuple[Clusters, str]:
    """Whose each series is, and how that is known: the column of patients, else the study, else each its own."""
    keys = [
        (PATIENT, pair.patient)
        if pair.patient
        else ("study", pair.score["study_uid"])
        if pair.score.get("study_uid")
        else ("series", str(index))
        for index, pair in enumerate(pairs)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    kinds = sorted({kind for kind, _ in keys})
    return Clusters(np.array([numbers[key] for key in keys], dtype=int)), " or ".join(kinds)


class _Uids:
    """Label rows by series UID, and by study and volume where given."""

    def __init__(self, rows: Sequence[Row], *, labels_path: Path) -> None:
        self.index: dict[tuple[str, str, str], int] = {}
        for index, row in enumerate(rows):
            if row.get("series_uid"):
                key = (row["series_uid"], row.get("study_uid", ""), row.get("volume", ""))
                first = self.index.setdefault(key, index)
                if first != index:
                    raise ConfigError(tell_twice(labels_path, first, index))

    def find(self, score: Row) -> int | None:
        keys = product([score["series_uid"]], [score.get("study_uid", ""), ""], [score.get("volume", ""), ""])
        return next((self.index[key] for key in keys if key in self.index), None)


def _only_one(pairs: list[Pair], *, where: str, include_training: bool) -> Pair:
    """The one series to evaluate among those a label fits.

    A refused scout beside it does not make the label ambiguous, nor do the folds that were trained on it.
    """
    scored = [pair for pair in pairs if pair.score["status"] == "scored"]
    usable = [pair for pair in scored if include_training or not pair.trained_on]
    if len(usable) > 1:
        shown = [(pair.score["series_uid"], pair.score.get("volume", "")) for pair in usable[:2]]
        if shown[0] == shown[1] and usable[0].score["path"] == usable[1].score["path"]:
            raise ConfigError(f"Series {shown[0][0]}, which {where} labels, stands {len(usable)} times in the scores. "
                              "Keep one of its rows, and give each scores.csv only once.")
        names = " and ".join(" ".join(filter(None, one)) for one in shown)
        raise ConfigError(
            f"The label in {where} fits {len(usable)} scored series, among them {names}. Give the labels a series_uid "
            "column (and study_uid or volume columns where series share the UID), and each scores.csv only once."
        )
    return (usable or scored or pairs)[0]


def _explain(row: Row, pair: Pair | None, include_training: bool) -> Missing | None:
    """Why a label row is not evaluated; None where it is."""
    series = row.get("series_uid") or row.get("path", "")
    if pair is None:
        return Missing(series=series, status="missing", reason="not in scores.csv")
    if pair.score["status"] != "scored":
        return Missing(series=series, status=pair.score["status"], reason=pair.score.get("reason", ""))
    if pair.trained_on and not include_training:
        return Missing(series=series, status=LEFT_OUT, reason=TRAINED_ON)
    return None
