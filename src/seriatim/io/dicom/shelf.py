"""The planes of all DICOM files of a search, outside of memory: in by file, out by series."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from seriatim.io.dicom.plane import Plane
from seriatim.io.dicom.plane_rows import SCHEMA as SHARED_SCHEMA
from seriatim.io.dicom.plane_rows import PlaneRow, PlaneRows, encode
from seriatim.io.isolation.wire import WireError
from seriatim.io.scratch_database import open_scratch, pack_text

SCHEMA = SHARED_SCHEMA + """
CREATE TABLE keys (id INTEGER PRIMARY KEY, study TEXT NOT NULL, series TEXT NOT NULL, more BLOB NOT NULL,
                   place INTEGER NOT NULL, UNIQUE (series, study, more));
CREATE TABLE blocks (key INTEGER NOT NULL, files TEXT NOT NULL);
CREATE INDEX blocks_by_key ON blocks (key);
"""
NO_STUDY = json.dumps("")
HELD_FILES = 1 << 14
"""So many are held as they are, some 20 MB: most searches find no more, and none of theirs is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileKey:
    """What the files of one series share: their UIDs, and without a series UID their folder, modality and number.

    ``number`` is that of the key on its shelf.
    """

    number: int
    study_uid: str
    series_uid: str


@dataclass(slots=True)
class _Block:
    """Files of one key that are held: the place of each among all, and its planes."""

    key: FileKey
    files: list[tuple[int, list[Plane]]] = field(default_factory=list)


class PlaneShelf:
    """Keeps the planes of files until they are asked for, series by series: many of them on disk.

    Paths and header values stay private: the file that holds them has no name and dies with this object.
    """

    def __init__(self) -> None:
        self._database = open_scratch(SCHEMA)
        self._rows = PlaneRows(self._database)
        self._blocks: dict[tuple[str, str, bytes], _Block] = {}
        self._by_number: dict[int, _Block] = {}
        self._files = self._held = 0

    def __enter__(self) -> PlaneShelf:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def put(self, planes: list[Plane]) -> None:
        """Keep the planes of the next file."""
        self._block_of(planes[0]).files.append((self._files, planes))
        self._files, self._held = self._files + 1, self._held + 1
        if self._held >= HELD_FILES:
            self._write()

    def list_keys(self) -> Iterator[FileKey]:
        """What series there may be, in the order of their first files."""
        found = self._database.execute("SELECT id, study, series FROM keys ORDER BY place")
        return (FileKey(number=number, study_uid=json.loads(study), series_uid=json.loads(series))
                for number, study, series in found)

    def list_keys_of(self, series_uid: str) -> list[FileKey]:
        """The keys of one SeriesInstanceUID: one for each study that has it."""
        return self._select(series_uid, "ORDER BY place")

    def list_some_of(self, series_uid: str) -> list[FileKey]:
        """Keys of one SeriesInstanceUID: the one without a study, and of those with one no more than two.

        That tells none, one and several studies apart, in the same time however many there are.
        """
        return [*self._select(series_uid, "AND study = ?", NO_STUDY),
                *self._select(series_uid, "AND study <> ? LIMIT 2", NO_STUDY)]

    def read(self, *keys: FileKey) -> list[list[Plane]]:
        """The planes of the files of these keys, a list for each file, in the order in which files were put."""
        held = (self._by_number.get(key.number) for key in keys)
        files = [file for block in held if block for file in block.files]
        for key in keys:
            for (text,) in self._database.execute("SELECT files FROM blocks WHERE key = ?", (key.number,)):
                files += [(place, self._unpack(Path(name), rows)) for place, name, rows in json.loads(text)]
        return [planes for _, planes in sorted(files, key=itemgetter(0))]

    def _select(self, series_uid: str, which: str, *values: str) -> list[FileKey]:
        found = self._database.execute(f"SELECT id, study FROM keys WHERE series = ? {which}",  # noqa: S608
                                       (json.dumps(series_uid), *values))
        return [FileKey(number=number, study_uid=json.loads(study), series_uid=series_uid) for number, study in found]

    def _unpack(self, path: Path, rows: Iterable[PlaneRow]) -> list[Plane]:
        return [self._rows.unpack(path, row) for row in rows]

    def _block_of(self, plane: Plane) -> _Block:
        more = b""
        if not plane.series_uid:
            number = plane.traits.get("SeriesNumber", "")
            more = pack_text(json.dumps([plane.modality, number]) + str(plane.path.parent))
        key = plane.study_uid, plane.series_uid, more
        block = self._blocks.get(key)
        if block is None:
            number = self._number(json.dumps(key[0]), json.dumps(key[1]), more)
            block = _Block(FileKey(number=number, study_uid=key[0], series_uid=key[1]))
            self._blocks[key] = self._by_number[number] = block
        return block

    def _number(self, *key: str | bytes) -> int:
        self._database.execute("INSERT OR IGNORE INTO keys (study, series, more, place) VALUES (?, ?, ?, ?)",
                               (*key, self._files))
        ((number,),) = self._database.execute("SELECT id FROM keys WHERE study = ? AND series = ? AND more = ?", key)
        return int(number)

    def _write(self) -> None:
        """Write what is held; planes that are no plain data stay."""
        for block in self._blocks.values():
            files, kept = [], []
            for place, planes in block.files:
                try:
                    files.append((place, str(planes[0].path), [self._rows.pack(plane) for plane in planes]))
                except WireError:
                    kept.append((place, planes))
            self._database.execute("INSERT INTO blocks VALUES (?, ?)", (block.key.number, encode(files)))
            block.files = kept
        self._blocks = {key: block for key, block in self._blocks.items() if block.files}
        self._by_number = {block.key.number: block for block in self._blocks.values()}
        self._held = 0
