"""NRRD and MetaImage against SimpleITK, and the headers that it takes in silence."""

from __future__ import annotations

import bz2
import gzip
import itertools
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seriatim.errors import DecoderError
from seriatim.io import find_series, read, read_volume

NRRD = """NRRD0005
# by hand
type: {type}
dimension: 3
space: {space}
sizes: 4 3 2
space directions: (0.5,0,0) (0,0.75,0) (0,0,2.5)
kinds: domain domain domain
endian: {endian}
encoding: {encoding}
space origin: (1,2,3)
{more}"""
VALUES = np.arange(24, dtype=np.int16).reshape(2, 3, 4) - 7
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = {msb}
CompressedData = False
{geometry}DimSize = 4 3 2
ElementType = MET_SHORT
ElementDataFile = {file}
"""
GEOMETRY = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 0.5 0.75 2.5\n"


def write_nrrd(path: Path, data: bytes, *, space: str = "left-posterior-superior", encoding: str = "raw",
               endian: str = "little", more: str = "", kind: str = "short") -> Path:
    header = NRRD.format(type=kind, space=space, encoding=encoding, endian=endian, more=more)
    path.write_bytes(header.encode() + b"\n" + data)
    return path


def write_meta(path: Path, data: bytes = VALUES.tobytes(), *, geometry: str = GEOMETRY, file: str = "LOCAL",
               msb: bool = False) -> Path:
    path.write_bytes(META.format(msb=msb, geometry=geometry, file=file).encode() + (data if file == "LOCAL" else b""))
    return path


def lps(volume_affine: np.ndarray) -> np.ndarray:
    return np.diag([-1.0, -1, 1, 1]) @ volume_affine


def reason_of(path: Path) -> str:
    (series,) = find_series(path).series
    assert not series.usable
    return series.reason


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_volume_that_itk_writes_is_read_with_its_values_and_places(tmp_path: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["a.mha", "a.mhd", "a.nrrd", "a.nhdr"]))
    kind = data.draw(st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    array = rng.integers(0, 100, (3, 4, 5)).astype(kind)
    image = SimpleITK.GetImageFromArray(array)
    image.SetDirection((turn * np.linalg.det(turn)).ravel())
    image.SetSpacing(tuple(rng.uniform(0.3, 4, 3)))
    image.SetOrigin(tuple(rng.uniform(-99, 99, 3)))
    SimpleITK.WriteImage(image, str(tmp_path / name), data.draw(st.booleans()))
    (volume,) = read(tmp_path / name)
    assert volume.affine is not None
    affine = lps(volume.affine)
    for column, row, index in itertools.product((0, 4), (0, 3), (0, 2)):
        place = image.TransformPhysicalPointToIndex((affine @ [column, row, index, 1])[:3].tolist())
        assert image.GetPixel(*place) == volume.array[index, row, column]
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(place), (affine @ [column, row, index, 1])[:3],
                                   atol=1e-4)


@pytest.mark.parametrize(("space", "signs"), [
    ("right-anterior-superior", (1, 1, 1)), ("left-anterior-superior", (-1, 1, 1)), ("LPS", (-1, -1, 1)),
])
def test_the_space_of_an_nrrd_file_says_which_way_is_right(
    tmp_path: Path, space: str, signs: tuple[int, int, int]
) -> None:
    (volume,) = read(write_nrrd(tmp_path / "a.nrrd", VALUES.tobytes(), space=space))
    assert volume.affine is not None
    np.testing.assert_allclose(volume.affine[:3, 3], np.array([1, 2, 3]) * signs)
    np.testing.assert_allclose(np.diag(volume.affine)[:3], np.array([0.5, 0.75, 2.5]) * signs)
    np.testing.assert_array_equal(volume.array, VALUES)


@pytest.mark.parametrize(("encoding", "pack"), [
    ("raw", bytes), ("gzip", gzip.compress), ("bzip2", bz2.compress), ("hex", lambda raw: raw.hex(" ").encode()),
    ("ascii", lambda raw: " ".join(map(str, np.frombuffer(raw, "<i2"))).encode()),
])
def test_every_encoding_gives_the_values_and_truncation_none(tmp_path: Path, encoding: str, pack: object) -> None:
    data = pack(VALUES.tobytes())  # type: ignore[operator]
    path = write_nrrd(tmp_path / "a.nrrd", data, encoding=encoding)
    (series,) = find_series(path).series
    assert not [finding for finding in series.findings if finding.code != "MISSING_GEOMETRY"]
    np.testing.assert_array_equal(read_volume(series).array, VALUES)
    write_nrrd(path, data[: len(data) * 2 // 3], encoding=encoding)
    assert reason_of(path).startswith("TRUNCATED")
    with pytest.raises(DecoderError):
        read_volume(series)


def test_big_endian_voxels(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "a.nrrd", VALUES.astype(">i2").tobytes(), endian="big")
    write_meta(tmp_path / "b.mha", VALUES.astype(">i2").tobytes(), msb=True)
    for volume in read(tmp_path):
        np.testing.assert_array_equal(volume.array, VALUES)
        assert volume.array.dtype == np.int16


@pytest.mark.parametrize("name", ["../voxels.raw", "/etc/hostname", "C:\\voxels.raw", "link.raw", "sub/../../v.raw"])
def test_data_files_outside_of_the_folder_are_never_followed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for outside in ("voxels.raw", "v.raw"):
        (tmp_path / outside).write_bytes(VALUES.tobytes())
    (folder / "link.raw").symlink_to(tmp_path / "voxels.raw")
    assert "outside" in reason_of(write_meta(folder / "a.mhd", file=name))
    assert "outside" in reason_of(write_nrrd(folder / "b.nhdr", b"", more=f"data file: {name}\n"))


@pytest.mark.parametrize("name", ["LIST", "slice%03d.raw 1 2 1"])
def test_voxels_in_several_files_are_refused(tmp_path: Path, name: str) -> None:
    for path in (write_meta(tmp_path / "a.mhd", file=name),
                 write_nrrd(tmp_path / "b.nhdr", b"", more=f"data file: {name}\n")):
        assert reason_of(path).startswith("UNSUPPORTED")
    assert reason_of(write_meta(tmp_path / "c.mhd", file="gone.raw")).startswith("TRUNCATED")


@pytest.mark.parametrize(("geometry", "code"), [
    ("", "MISSING_GEOMETRY"),
    ("TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n", "MISSING_GEOMETRY"),
    (GEOMETRY.replace("1 0 0 0 1", "2 0 0 0 1"), "BAD_VALUE"),
    (GEOMETRY.replace("0.5 0.75 2.5", "0.5 0 2.5"), "BAD_VALUE"),
    (GEOMETRY.replace("0.5 0.75 2.5", "nan 1 2.5"), "BAD_VALUE"),
    (GEOMETRY.replace("Offset = 1 2 3", "Offset = 1 2 inf"), "BAD_VALUE"),
    (GEOMETRY.replace("0.5 0.75 2.5", "-0.5 0.75 2.5"), "BAD_VALUE"),
])
def test_a_geometry_that_is_none_is_refused(tmp_path: Path, geometry: str, code: str) -> None:
    assert reason_of(write_meta(tmp_path / "a.mha", geometry=geometry)).startswith(code)


def test_an_nrrd_file_without_a_space_is_refused_and_can_be_kept_as_stored(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", VALUES.tobytes(), space="scanner-xyz")
    assert reason_of(path).startswith("MISSING_GEOMETRY")


@pytest.mark.parametrize("first", [False, True])
def test_lists_of_volumes_are_a_series_each_wherever_the_list_axis_lies(tmp_path: Path, first: bool) -> None:
    array = np.random.default_rng(0).integers(0, 99, (5, 2, 3, 4)).astype("<i2")
    directions = ["(1,0,0)", "(0,1,0)", "(0,0,2)"]
    places = {"kinds": ["domain"] * 3, "sizes": ["4", "3", "2"], "space directions": directions}
    for values, other in zip(places.values(), ("list", "5", "none"), strict=True):
        values.insert(0 if first else 3, other)
    header = ["NRRD0004", "type: int16", "dimension: 4", "space: LPS", "encoding: raw", "endian: little",
              *(f"{name}: {' '.join(values)}" for name, values in places.items())]
    data = np.moveaxis(array, 0, -1).tobytes() if first else array.tobytes()
    (tmp_path / "a.nrrd").write_bytes("\r\n".join(header).encode() + b"\r\n\r\n" + data)
    np.testing.assert_array_equal([volume.array for volume in read(tmp_path)], array)


def test_four_axes_as_itk_writes_them(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 99, (2, 3, 4, 5)).astype(np.int16)
    image = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(volume) for volume in array])
    for name in ("a.mha", "a.nrrd", "z.mha"):
        SimpleITK.WriteImage(image, str(tmp_path / name), name.startswith("z"))
    for name in ("a.mha", "z.mha"):
        np.testing.assert_array_equal([volume.array for volume in read(tmp_path / name)], array)
    assert all("directions of its axes" in series.reason for series in find_series(tmp_path / "a.nrrd").series)
    raw = (tmp_path / "a.nrrd").read_bytes()
    named = raw.replace(b"space dimension: 4", b"space: left-posterior-superior-time")
    (tmp_path / "a.nrrd").write_bytes(named)
    volumes = read(tmp_path / "a.nrrd")
    np.testing.assert_array_equal([volume.array for volume in volumes], array)
    assert volumes[0].affine is not None
    np.testing.assert_allclose(np.diag(volumes[0].affine), [-1, -1, 1, 1])


def test_vectors_are_refused_and_colours_are_read(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 3)).astype(np.uint8)
    for name in ("a.nrrd", "a.mha"):
        for prefix, values in (("", colours), ("f", colours.astype(np.float32))):
            image = SimpleITK.GetImageFromArray(values, isVector=True)
            SimpleITK.WriteImage(image, str(tmp_path / f"{prefix}{name}"))
        assert reason_of(tmp_path / f"f{name}").startswith("UNSUPPORTED")
        np.testing.assert_array_equal(read(tmp_path / name)[0].array, colours)
