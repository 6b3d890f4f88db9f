"""Explanations as volumes: on the grid and at the place of the images, as SimpleITK sees both."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from page_samples import explanation_of, volume_of

from seriatim.explanation import ExplainOptions, explain
from seriatim.explanation.display import turn_slices
from seriatim.explanation.volumes import make_volumes, write_volumes
from seriatim.io import find_series, read_volume
from seriatim.io.volumes.nifti_write import write_nifti
from tiny_runs import read_rows

sys.path.append(str(Path(__file__).parents[1] / "io"))

from dicom_files import make_slice, random_stack, save_stack

COUNT, SIZE = 4, 6


def test_simpleitk_finds_the_numbers_at_the_slices_of_the_series(tmp_path: Path, head_ct: Path, tiny_run: Path) -> None:
    source = Path(shutil.copytree(head_ct / read_rows(head_ct / "labels.csv")[0]["path"], tmp_path / "one"))
    options = ExplainOptions(page=False, nifti=True)
    (row,) = explain(source, model=tiny_run, output=tmp_path / "out", device="cpu", top=2, options=options)
    uid, folder = row["series_uid"], tmp_path / "out" / "nifti"
    assert {path.name for path in folder.iterdir()} == {
        f"{uid}_{name}.nii.gz" for name in ("attention", "integrated_gradients", "grad_cam")}
    reader = SimpleITK.ImageSeriesReader()
    reader.MetaDataDictionaryArrayUpdateOn()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(source)))
    series = reader.Execute()
    uids = [reader.GetMetaData(place, "0008|0018").strip(" \0") for place in range(series.GetDepth())]
    slices = {one["sop_instance_uid"]: one for one in read_rows(tmp_path / "out" / f"{uid}.csv")}
    for name in ("attention", "integrated_gradients"):
        image = SimpleITK.ReadImage(folder / f"{uid}_{name}.nii.gz")
        assert image.GetSize() == series.GetSize()
        np.testing.assert_allclose(image.GetSpacing(), series.GetSpacing(), rtol=1e-5)
        on_series = SimpleITK.GetArrayFromImage(SimpleITK.Resample(image, series, SimpleITK.Transform(),
                                                                   SimpleITK.sitkNearestNeighbor, np.nan))
        for values, one in zip(on_series, uids, strict=True):
            assert float(values.min()) == float(values.max()) == pytest.approx(float(slices[one][name]), rel=1e-5)
    heat = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(folder / f"{uid}_grad_cam.nii.gz"))
    shown = sorted(int(one["index"]) for one in slices.values() if int(one["rank"]) <= 2)
    assert set(np.flatnonzero(heat.any(axis=(1, 2)))) <= set(shown)
    assert float(heat.max()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, -1, 1), (-1, 1, -1)])
def test_a_map_is_turned_back_as_the_pictures_were_turned(
    axes: tuple[int, int, int], signs: tuple[int, int, int]
) -> None:
    """A pixel at the left front of the patient stays there, however the slices are stored."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, list(axes)] * np.array(signs)
    rng = np.random.default_rng(0)
    stored = rng.random((COUNT, SIZE, SIZE)).astype(np.float32)
    explanation = explanation_of(COUNT, 2, images=np.zeros((2, SIZE, SIZE), np.uint8), heat=None)
    volume = volume_of(explanation, stored)
    volume = replace(volume, affine=affine, series=replace(volume.series, affine=affine))
    turned = turn_slices(stored[list(explanation.top)], volume).numpy()
    told = dict(make_volumes(volume, replace(explanation, pixel_maps={"grad_cam": turned}, heat=turned)))
    np.testing.assert_allclose(told["grad_cam"][list(explanation.top)], stored[list(explanation.top)], atol=1e-6)
    others = sorted(set(range(COUNT)) - set(explanation.top))
    assert not told["grad_cam"][others].any()


def test_files_name_nobody_and_clips_have_none(tmp_path: Path) -> None:
    explanation = explanation_of(COUNT, 2)
    volume = volume_of(explanation, np.zeros((COUNT, SIZE, SIZE), np.int16))
    assert write_volumes(volume, explanation, tmp_path / "1.2.3") == ("attention",)
    image = nibabel.load(tmp_path / "nifti" / "1.2.3_attention.nii.gz")
    assert image.header["descrip"] == b"seriatim attention"
    assert not image.header["db_name"].item()
    np.testing.assert_allclose(image.affine, volume.affine)
    clip = replace(volume, affine=None)
    assert write_volumes(clip, explanation, tmp_path / "clip") == ()


def test_tilted_slices_lie_where_simpleitk_puts_those_of_the_series(tmp_path: Path) -> None:
    stack = [make_slice(one, (0.0, 0.8 * place, 2.5 * place), SOPInstanceUID=f"1.2.3.4.{place}", InstanceNumber=place)
             for place, one in enumerate(random_stack(5))]
    volume = read_volume(find_series(save_stack(stack, tmp_path / "in")).series[0])
    assert volume.affine is not None
    write_nifti(tmp_path / "tilted.nii.gz", volume.array, affine=volume.affine)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "in")))
    series, image = reader.Execute(), SimpleITK.ReadImage(tmp_path / "tilted.nii.gz")
    for index in ((0, 0, 0), (4, 0, 0), (0, 5, 0), (4, 5, 4)):
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index),
                                   series.TransformIndexToPhysicalPoint(index), atol=1e-4)
    np.testing.assert_allclose(nibabel.load(tmp_path / "tilted.nii.gz").get_sform(), volume.affine, atol=1e-5)
