"""Searches of any size: what is kept outside of memory comes back as it was, in the order of find_series."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from seriatim.errors import OutputError
from seriatim.io import find_series
from seriatim.io.dicom import shelf as shelves
from seriatim.io.dicom.concatenation import Part
from seriatim.io.dicom.plane import Plane, Stored
from seriatim.io.dicom.shelf import FileKey, PlaneShelf
from seriatim.io.discover import find_many
from seriatim.io.scratch_database import telling_scratch
from seriatim.io.stored_series import SeriesStore, pack_series, unpack_series
from seriatim.series import Code
from seriatim.series.findings import find

TRAITS = {"AcquisitionTime": 101112.25, "ConvolutionKernel": "H30s"}
PLANE = Plane(
    path=Path("a/b"), frame=None, sop_instance_uid="1.2.3", sop_class_uid="1.2", study_uid="1", series_uid="2",
    modality="CT", rows=4, columns=5, position=(0.1, -0.0, 1e-300), orientation=(1.0, -0.0, 0.0, 0.0, 1.0, 0.0),
    spacing_mm=(0.1, 1 / 3), number=7, body_parts=("head",), thickness_mm=1.5, traits=TRAITS,
    stored=Stored(photometric="MONOCHROME2", layout=(16, None, 11, 0), rescale=(1.0, None)),
    findings=(find(Code.BAD_VALUE, "odd", of=3),), part=Part(uid="9", number=1, total=2, offset=-1, frames=3),
)
SEVERAL = [
    PLANE, replace(PLANE, sop_instance_uid="1.2.4", position=None, traits={**TRAITS, "AcquisitionTime": 1.0}),
    replace(PLANE, orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0)), replace(PLANE, traits={}),
    replace(PLANE, traits={"EchoTime": 2.0, "ConvolutionKernel": "H30s"}),
    replace(PLANE, path=Path("a/c\udc80"), frame=3), replace(PLANE, series_uid="3", study_uid=""),
    replace(PLANE, series_uid="", position=(math.inf, 0.0, 0.0)),
]


@pytest.fixture
def small_shelves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third file makes the shelf write what it holds."""
    monkeypatch.setattr(shelves, "HELD_FILES", 3)


def read_all(shelf: PlaneShelf) -> Iterator[list[Plane]]:
    for key in shelf.list_keys():
        yield from shelf.read(key)


@pytest.mark.usefixtures("small_shelves")
def test_planes_come_back_to_the_last_bit():
    with PlaneShelf() as shelf:
        for plane in SEVERAL:
            shelf.put([plane, replace(plane, frame=9)])
        found = [repr(planes) for planes in read_all(shelf)]
    assert sorted(found) == sorted(repr([plane, replace(plane, frame=9)]) for plane in SEVERAL)


@pytest.mark.usefixtures("small_shelves")
def test_files_of_series_that_alternate_keep_their_order():
    planes = [replace(PLANE, sop_instance_uid=str(index), series_uid=str(index % 2)) for index in range(20)]
    with PlaneShelf() as shelf:
        for plane in planes:
            shelf.put([plane])
        first, second = shelf.list_keys()
        assert [one.sop_instance_uid for (one,) in shelf.read(first)] == [str(index) for index in range(0, 20, 2)]
        both = [one.sop_instance_uid for (one,) in shelf.read(second, first)]
    assert both == [str(index) for index in range(20)]


@pytest.mark.usefixtures("small_shelves")
def test_a_plane_that_is_no_plain_data_is_not_lost():
    odd = replace(PLANE, traits={"EchoTime": object()})
    with PlaneShelf() as shelf:
        for plane in (PLANE, odd, PLANE, PLANE):
            shelf.put([plane])
        assert list(read_all(shelf)) == [[PLANE], [odd], [PLANE], [PLANE]]


@pytest.mark.parametrize("sequence", ["volumes", "frames"])
def test_many_series_are_those_of_find_series(head_ct, monkeypatch, sequence):
    plain = find_series(head_ct, sequence=sequence)  # the tables beside them are skipped files
    monkeypatch.setattr(shelves, "HELD_FILES", 3)
    many = find_many(head_ct, sequence=sequence)
    assert repr(find_series(head_ct, sequence=sequence)) == repr(plain)
    assert [repr(one) for one in many.series] == [repr(one) for one in plain.series]
    assert list(many.skipped) == list(plain.skipped) != []
    assert repr(many.series[-1]) == repr(plain.series[-1])
    assert len(many.series) == len(plain.series)


def test_a_series_comes_back_to_the_last_bit(head_ct):
    for one in find_series(head_ct).series:
        assert repr(unpack_series(pack_series(one))) == repr(one)


def test_volumes_are_in_the_order_of_their_numbers(head_ct):
    one = find_series(head_ct).series[0]
    store = SeriesStore()
    for volume in ("t 10", "", "t 9", "\udc80 1"):
        store.add([replace(one, volume=volume)], [])
    assert [found.volume for found in store.list_series()] == ["", "t 9", "t 10", "\udc80 1"]


def test_no_room_for_the_search_is_told():
    with pytest.raises(OutputError, match="TMPDIR"), telling_scratch():
        raise sqlite3.OperationalError("database or disk is full")


def test_planes_that_are_held_are_found_by_their_series_without_a_look_at_the_others(monkeypatch):
    compared = 0

    def compare(one: FileKey, other: object) -> bool:
        nonlocal compared
        compared += 1
        return one is other

    monkeypatch.setattr(FileKey, "__eq__", compare)
    with PlaneShelf() as shelf:
        for index in range(50):  # as an archive of radiographs: a series in each file
            shelf.put([replace(PLANE, series_uid=str(index))])
        assert sum(1 for _ in read_all(shelf)) == 50
    assert compared == 0
