"""A folder of good series among hostile files: the good are scored with the same bits, all others say why not."""

from __future__ import annotations

import csv
import gzip
import os
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from pydicom.uid import RLELossless

from tiny_runs import CommandLine, read_rows, without

sys.path.append(str(Path(__file__).parents[1] / "io"))
from dicom_files import make_stack, random_stack, save_stack
from zip_files import craft

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links, pipes and workers are those of POSIX")
HOSTILE_UIDS = ("../../escaped", "=cmd()|calc", "/escaped", "..", "1.2." + "3" * 4096)


def write_series(folder: Path, uid: str, *, compressed: bool = False) -> list[Path]:
    datasets = make_stack(random_stack(4), SeriesInstanceUID=uid)
    for dataset in datasets:
        if compressed:
            dataset.compress(RLELossless, generate_instance_uid=False)
    save_stack(datasets, folder)
    return sorted(folder.iterdir())


def write_hostile(folder: Path, outside: Path) -> None:
    """Files that must cost one row each, and end no run."""
    write_series(outside, "1.2.9")
    folder.mkdir()
    (folder / "out").symlink_to(outside)
    (folder / "one.dcm").symlink_to(next(outside.iterdir()))
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.dcm")
    cut = write_series(folder / "cut", "1.2.10", compressed=True)[1]
    cut.write_bytes(cut.read_bytes()[:-20])
    (folder / "tera.nii.gz").write_bytes(gzip.compress(b"\x5c\1\0\0" + bytes(336) + b"\xff" * 4 + b"n+1\0" + bytes(9)))
    Image.new("L", (8, 8)).save(folder / "bomb.gif")
    raw = bytearray((folder / "bomb.gif").read_bytes())
    raw[6:10] = b"\xff" * 4
    (folder / "bomb.gif").write_bytes(raw)
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(range(256)) * 8)
    slice_ = next(outside.iterdir()).read_bytes()
    (folder / "paths.zip").write_bytes(craft([
        (b"../../escaped.dcm", slice_, {}), (b"/escaped.dcm", slice_, {}),
        (b"link", str(outside).encode(), {"mode": 0o120777}),
    ]))
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a.dcm", bytes(70 << 20))
    for number, uid in enumerate(HOSTILE_UIDS):
        write_series(folder / f"uid{number}", uid)


def list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


@pytest.mark.filterwarnings("ignore")  # pydicom's, about the UIDs
@pytest.mark.parametrize("command", ["score", "explain"])
def test_good_series_among_hostile_files_are_scored_with_the_same_bits(
    tmp_path: Path, head_ct: Path, tiny_run: Path, tiny_scores: Path, seriatim_command: CommandLine, command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from seriatim.explanation import batch
    from seriatim.scoring import engine

    root, out, outside = tmp_path / "root", tmp_path / "out", tmp_path / "outside"
    given = sorted((head_ct / "series").iterdir())
    for source in given if command == "score" else given[:3]:  # a picture takes longer than a score
        shutil.copytree(source, root / "good" / source.name)
    write_hostile(root / "hostile", outside)
    write_series(root / "vanish", "1.2.11")
    before = list_files(tmp_path)
    room = engine if command == "score" else batch
    original = room.read_volume

    def read(series: object, **options: object) -> object:
        shutil.rmtree(root / "vanish", ignore_errors=True)  # gone after it was found
        return original(series, **options)

    monkeypatch.setattr(room, "read_volume", read)
    more = ["--top", 1] if command == "explain" else []
    done = seriatim_command(command, root, "--model", tiny_run, "--output", out, "--device", "cpu", *more)
    assert done.code == 8, done.err
    assert "Traceback" not in done.err
    strangers = {path for path in list_files(tmp_path) - before if out not in path.parents}
    assert not strangers
    assert all(path.parent in (out, out / "thumbnails") for path in list_files(out))
    table = read_rows(out / ("scores.csv" if command == "score" else "explanations.csv"))
    rows = {Path(row["path"]).name: row for row in table}
    assert all(row["reason"] for row in table if row["status"] in ("refused", "failed"))
    assert rows["vanish"]["status"] == "failed"
    assert not any(row["series_uid"] == "1.2.9" and "paths.zip" not in row["path"] for row in table)
    assert {"cut", "tera.nii.gz", "bomb.gif", "broken.mp4", "vanish"} <= {
        name for name, row in rows.items() if row["status"] in ("refused", "failed")
    }
    good = [row for row in table if "good" in Path(row["path"]).parts]
    if command == "score":
        expected = without(read_rows(tiny_scores / "scores.csv"), "path", "seconds")
        assert without(good, "path", "seconds") == expected
        with (out / "skipped.csv").open(newline="", encoding="utf-8") as file:
            told = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}
        assert {"out", "one.dcm", "loop", "pipe.dcm", "a.dcm", "link"} <= set(told)
        assert all(told.values())
    else:
        assert [row["status"] for row in good] == ["explained"] * 3
