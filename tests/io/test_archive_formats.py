"""Every format reads from a ZIP archive as from the folder that was packed, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_files import make_stack, random_stack, save_stack
from PIL import Image
from zip_files import pack

from seriatim.io import find_series, read_volume
from seriatim.io.write import Clip, video_available, write_video


def write_everything(folder: Path) -> None:
    """One file or folder of each format; names without extension where the bytes alone tell."""
    import SimpleITK

    save_stack(make_stack(random_stack(4)), folder / "dicom")
    image = SimpleITK.GetImageFromArray(np.random.default_rng(1).integers(-1000, 2000, (5, 7, 6)).astype(np.int16))
    image.SetSpacing((0.5, 0.75, 3.0))
    for name in ("a.nii", "b.nii.gz", "c.nrrd", "d.mha", "e.mhd", "f.nhdr", "g.hdr"):
        (folder / name[0]).mkdir()
        SimpleITK.WriteImage(image, str(folder / name[0] / name), useCompression=name in ("b.nii.gz", "c.nrrd"))
    frames = np.random.default_rng(2).integers(0, 256, (3, 32, 36)).astype(np.uint8)
    pictures = [Image.fromarray(frame) for frame in frames]
    for ending in ("png", "jpg", "bmp", "tif"):
        (folder / ending).mkdir()
        for index, picture in enumerate(pictures):
            picture.save(folder / ending / f"frame{index + 8}.{ending}")  # 8, 9, 10: natural order
    (folder / "pages").mkdir()
    pictures[0].save(folder / "pages" / "all.tiff", save_all=True, append_images=pictures[1:], compression="tiff_lzw")
    pictures[0].save(folder / "pages" / "all.gif", save_all=True, append_images=pictures[1:], duration=40)
    if video_available():
        for name in ("clip.mp4", "clip.mkv"):
            write_video(folder / "video" / name, Clip(frames=frames, frames_per_second=25))


@pytest.mark.parametrize("stored", [True, False])
def test_every_format_is_the_same_from_an_archive(tmp_path: Path, *, stored: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    write_everything(folder)
    archive = pack(folder, tmp_path / "a.zip", method=0 if stored else 8)
    before = sorted(path.name for path in tmp_path.iterdir())
    unpacked, packed = find_series(folder), find_series(archive)
    assert len(unpacked.series) >= 14
    assert all(series.usable for series in unpacked.series), [series.reason for series in unpacked.series]
    for one, other in zip(unpacked.series, packed.series, strict=True):
        assert other.path.relative_to(archive) == one.path.relative_to(folder)
        assert (other.study_uid, other.series_uid, other.format) == (one.study_uid, one.series_uid, one.format)
        assert other.findings == one.findings
        assert [slice_.sop_instance_uid for slice_ in other.instances] == [
            slice_.sop_instance_uid for slice_ in one.instances
        ]
        np.testing.assert_array_equal(other.positions, one.positions)
        first, second = read_volume(one), read_volume(other)
        assert first.array.dtype == second.array.dtype
        np.testing.assert_array_equal(first.array, second.array)
        if first.affine is not None:
            np.testing.assert_array_equal(first.affine, second.affine)
    assert [(one.path.relative_to(archive), one.reason) for one in packed.skipped] == [
        (one.path.relative_to(folder), one.reason) for one in unpacked.skipped
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == before
