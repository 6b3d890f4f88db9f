"""Values that travel to a worker and back are the same, and what is of another type is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seriatim.io.isolation.wire import WireError, from_plain, to_plain
from seriatim.series import Code, Series
from seriatim.series.findings import Finding
from seriatim.series.series import Instance

FLOATS = st.floats(allow_nan=False)
PATHS = st.binary(min_size=1, max_size=20).filter(lambda raw: b"\0" not in raw).map(lambda raw: Path(os.fsdecode(raw)))
TEXTS = st.text(max_size=20)


def travel(kind: Any, value: Any) -> Any:
    return from_plain(kind, json.loads(json.dumps(to_plain(value))))


@st.composite
def series(draw: st.DrawFn) -> Series:
    positions = sorted(draw(st.lists(FLOATS, min_size=1, max_size=5, unique=True)))
    instances = tuple(
        Instance(path=draw(PATHS), sop_instance_uid=draw(TEXTS), frame=draw(st.none() | st.integers(0)), position=place)
        for place in positions
    )
    affine = draw(st.none() | st.lists(st.floats(-1e300, 1e300), min_size=16, max_size=16))
    finding = Finding(code=draw(st.sampled_from(list(Code))), message=draw(TEXTS), action="keep",
                      numbers=draw(st.dictionaries(TEXTS, st.floats(allow_nan=False) | st.integers(), max_size=2)))
    return Series(
        study_uid=draw(TEXTS), series_uid=draw(TEXTS), modality=draw(TEXTS), format="dicom",
        axis=draw(st.sampled_from(["space", "time"])),
        path=draw(PATHS), instances=instances, rows=draw(st.integers(0)), columns=draw(st.integers(0)),
        affine=None if affine is None else np.array(affine).reshape(4, 4),
        spacing_mm=draw(st.none() | st.tuples(FLOATS, FLOATS, FLOATS)), volume=draw(TEXTS), findings=(finding,),
    )


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(series())
def test_a_series_travels_exactly(sent: Series) -> None:
    got = travel(Series, sent)
    assert type(got.path) is type(sent.path)
    assert [os.fsencode(one.path) for one in got.instances] == [os.fsencode(one.path) for one in sent.instances]
    assert got.positions.tobytes() == sent.positions.tobytes()
    if sent.affine is not None:
        assert (got.affine.dtype, got.affine.tobytes()) == (sent.affine.dtype, sent.affine.tobytes())
    assert to_plain(got) == to_plain(sent)
    assert got.findings == sent.findings
    assert repr(got) == repr(sent)


def test_numbers_that_are_none_travel() -> None:
    assert np.isnan(travel(float, float("nan")))
    assert travel(float, float("-inf")) == float("-inf")
    assert str(travel(float, -0.0)) == "-0.0"
    assert travel(float | None, np.float64(0.1)) == 0.1


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (int, True), (int, 1.0), (int, "1"), (str, None), (float, "1"), (Path, 3), (Code, "NOTHING"), (int | None, "x"),
        (Literal["a", "b"], "c"), (tuple[int, ...], [1, "2"]), (tuple[int, str], [1]), (dict[str, float], [["a", 1]]),
        (np.ndarray[Any, Any], {"dtype": "O", "shape": [1], "values": [1]}), (Finding, {"code": "GAP"}),
        (np.ndarray[Any, Any], {"dtype": "<f8", "shape": [3], "values": [1]}), (Instance, {"__class__": "x"}),
    ],
)
def test_what_is_of_another_type_is_refused(kind: Any, plain: Any) -> None:
    with pytest.raises(WireError):
        from_plain(kind, plain)


def test_what_must_not_travel_is_refused() -> None:
    for value in (object(), {1, 2}, np.zeros(1 << 24, dtype=np.uint8), np.array([object()])):
        with pytest.raises(WireError):
            to_plain(value)
