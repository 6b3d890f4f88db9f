"""ZIP archives: the same series from one as from the folder, and nothing else from a hostile one."""

from __future__ import annotations

import os
import random
import stat
import threading
import zipfile
from io import BytesIO
from pathlib import Path
from time import process_time

import numpy as np
import pytest
from dicom_files import make_slice, make_stack, random_stack, save_stack
from zip_files import craft, pack, pack_members

from seriatim.errors import InputError
from seriatim.io import find_series, read, read_volume, walk
from seriatim.io.archive.archive import list_members
from seriatim.io.archive.zip_index import MAX_MEMBERS
from seriatim.io.source import open_file, real_file


def dicom_bytes(index: int = 0) -> bytes:
    held = BytesIO()
    make_stack(random_stack(index + 1))[index].save_as(held, enforce_file_format=True)
    return held.getvalue()


def reasons(path: Path) -> dict[str, str]:
    return {str(one.path.relative_to(path)): one.reason for one in find_series(path).skipped}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_series_is_the_same_from_an_archive(tmp_path: Path, method: int) -> None:
    folder = save_stack(make_stack(random_stack(5)), tmp_path / "data" / "deep" / "CT", seed=1)
    archive = pack(tmp_path / "data", tmp_path / "study.bin", method=method)  # known by its bytes, not by its name
    (from_folder,), (from_archive,) = find_series(folder).series, find_series(archive).series
    assert from_archive.series_uid == from_folder.series_uid
    assert from_archive.path == archive / "deep" / "CT"
    assert [one.sop_instance_uid for one in from_archive.instances] == [
        one.sop_instance_uid for one in from_folder.instances
    ]
    assert from_archive.findings == from_folder.findings
    np.testing.assert_array_equal(from_archive.affine, from_folder.affine)
    np.testing.assert_array_equal(read_volume(from_archive).array, read_volume(from_folder).array)


def test_an_archive_below_the_input_and_a_folder_in_an_archive(tmp_path: Path) -> None:
    save_stack(make_stack(random_stack(4)), tmp_path / "data" / "one")
    save_stack(make_stack(random_stack(3), SeriesInstanceUID="1.2.9"), tmp_path / "data" / "two")
    (tmp_path / "input").mkdir()
    archive = pack(tmp_path / "data", tmp_path / "input" / "study.zip")
    assert [len(one.instances) for one in find_series(tmp_path / "input").series] == [4, 3]
    (second,) = find_series(archive / "two").series
    assert second.series_uid == "1.2.9"
    (volume,) = read(archive / "one" / "IM0000.dcm", {"NOT_A_SERIES": "keep"})
    assert volume.array.shape == (1, 6, 5)
    with pytest.raises(InputError, match="does not exist"):
        find_series(archive / "three")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_in_an_archive_is_read_and_one_in_that_is_not(tmp_path: Path, method: int) -> None:
    save_stack(make_stack(random_stack(4)), tmp_path / "data")
    inner = pack(tmp_path / "data", tmp_path / "inner.zip")
    pack_members(tmp_path / "middle.zip", [("inner.zip", inner.read_bytes())], method=method)
    (series,) = find_series(tmp_path / "middle.zip").series
    np.testing.assert_array_equal(read_volume(series).array, read(tmp_path / "data")[0].array)
    assert len(find_series(tmp_path / "middle.zip" / "inner.zip").series) == 1
    outer = pack_members(tmp_path / "outer.zip", [("m.zip", (tmp_path / "middle.zip").read_bytes())], method=method)
    found = find_series(outer)
    assert found.series == ()
    assert "Unpack it first" in found.skipped[0].reason


def test_a_real_file_wins_over_a_member(tmp_path: Path) -> None:
    folder = tmp_path / "study.zip"  # a folder with such a name is a folder
    save_stack(make_stack(random_stack(4)), folder)
    assert len(find_series(tmp_path).series[0].instances) == 4
    assert open_file(folder / "IM0000.dcm").read(132).endswith(b"DICM")


HOSTILE = ["/etc/passwd", "../../up.dcm", "a/../b.dcm", "..\\..\\up.dcm", "C:\\evil.dcm", "C:evil.dcm", "nul\0.dcm",
           "line\nbreak.dcm", "\x1b[31mred.dcm", "long" * 100 + ".dcm", "a//b.dcm", "\u202egpj.dcm", "member-00003"]


def test_hostile_names_reach_no_path_and_stay_readable(tmp_path: Path) -> None:
    names = [*HOSTILE, "same.dcm", "same.dcm"]
    stack = make_stack(random_stack(len(names)))
    members = []
    for name, dataset in zip(names, stack, strict=True):
        held = BytesIO()
        dataset.save_as(held, enforce_file_format=True)
        members.append((name, held.getvalue()))
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = pack_members(tmp_path / "hostile.zip", members)
    (series,) = find_series(archive).series
    assert len(series.instances) == len(names)
    paths = sorted(str(one.path.relative_to(archive)) for one in series.instances)
    assert paths == [*(f"member-{index:05}" for index in range(len(HOSTILE))), "member-00014", "same.dcm"]
    np.testing.assert_array_equal(read_volume(series).array, random_stack(len(names)).astype(int) - 1024)
    assert [path.name for path in tmp_path.rglob("*")] == ["hostile.zip"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    legacy, broken = b"M\x81ller.dcm", b"\xff\xfe.dcm"
    (tmp_path / "a.zip").write_bytes(craft([(legacy, dicom_bytes(), {}), (broken, dicom_bytes(), {"flags": 0x800})]))
    assert sorted(list_members(tmp_path / "a.zip").members) == ["Müller.dcm", "member-00001"]


def test_pictures_without_a_usable_name_make_no_stack(tmp_path: Path) -> None:
    from PIL import Image

    held = BytesIO()
    Image.new("L", (4, 4)).save(held, "PNG")
    pack_members(tmp_path / "a.zip", [(f"../{index}.png", held.getvalue()) for index in range(3)])
    found = find_series(tmp_path / "a.zip")
    assert found.series == ()
    assert len(found.skipped) == 3


@pytest.mark.parametrize(("changes", "reason"), [
    ({"flags": 1}, "ENCRYPTED"),
    ({"method": 99}, "ENCRYPTED"),
    ({"method": 9}, "deflate64"),
    ({"method": 93}, "zstd"),
    ({"mode": stat.S_IFLNK | 0o777}, "link"),
    ({"mode": stat.S_IFIFO | 0o777}, "link or device"),
    ({"packed": 1 << 20}, "overlaps"),
    ({"size": 1 << 31, "deflate": 1}, "TOO_LARGE"),
    ({"crc": 1}, "UNREADABLE"),
    ({"size": 9000}, "TRUNCATED"),
])
def test_a_bad_member_costs_itself_alone(tmp_path: Path, changes: dict[str, int], reason: str) -> None:
    good = [(f"{index}.dcm".encode(), dicom_bytes(index), {}) for index in range(3)]
    (tmp_path / "a.zip").write_bytes(craft([*good, (b"bad.dcm", dicom_bytes(3), changes)]))
    found = find_series(tmp_path / "a.zip")
    (row,) = found.skipped
    assert row.path.name == "bad.dcm"
    assert reason in row.reason
    (series,) = found.series
    assert len(series.instances) == 3
    assert series.usable


def test_damage_behind_the_header_is_told_when_pixels_are_read(tmp_path: Path) -> None:
    members = [(f"{index}.dcm".encode(), dicom_bytes(index), {}) for index in range(3)]
    stack = make_slice(random_stack(1, rows=300, columns=300)[0], (-10, -20, 37.5), SOPInstanceUID="1.2.8")
    held = BytesIO()
    stack.save_as(held, enforce_file_format=True)
    raw = bytearray(craft([*members[:0], (b"0.dcm", held.getvalue(), {})]))
    raw[len(raw) // 2] ^= 1
    (tmp_path / "a.zip").write_bytes(raw)
    (series,) = find_series(tmp_path / "a.zip", {"NOT_A_SERIES": "keep"}).series
    with pytest.raises(InputError, match="UNREADABLE: a member"):
        read_volume(series)


def test_overlapping_members_are_left_out(tmp_path: Path) -> None:
    data = os.urandom(100)
    members = [(b"kernel", data, {}), *((f"{index}".encode(), b"", {"offset": 0, "size": 100, "packed": 100})
                                        for index in range(50))]
    (tmp_path / "a.zip").write_bytes(craft(members))
    found = find_series(tmp_path / "a.zip")
    assert found.series == ()
    assert sum("overlaps" in one.reason for one in found.skipped) == 50


@pytest.mark.parametrize("cut", [10, 100, 500])
def test_a_cut_archive_is_one_row(tmp_path: Path, cut: int) -> None:
    raw = craft([(b"a.dcm", dicom_bytes(), {})])
    (tmp_path / "a.zip").write_bytes(raw[:-cut])
    (row,) = find_series(tmp_path).skipped
    assert row.reason.startswith("TRUNCATED")


def test_a_million_empty_members_are_refused_at_once(tmp_path: Path) -> None:
    one = craft([(b"x", b"", {})])
    member, entry, end = one[:31], one[31:78], bytearray(one[78:])
    end[8:12], end[12:16], end[16:20] = b"\xff\xff\xff\xff", (47 * 10**6).to_bytes(4, "little"), b"\x1f\0\0\0"
    (tmp_path / "a.zip").write_bytes(member + entry * 10**6 + end)
    started = process_time()
    (row,) = find_series(tmp_path).skipped
    assert process_time() - started < 5
    assert str(MAX_MEMBERS) in row.reason


@pytest.mark.parametrize("bound", ["MAX_NESTED", "MAX_NESTED_MEMBERS"])
def test_the_archives_in_an_archive_have_a_bound_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(walk, bound, {"MAX_NESTED": 2, "MAX_NESTED_MEMBERS": 5}[bound])
    inner = pack_members(tmp_path / "inner.zip", [(f"{index}.txt", b"") for index in range(3)]).read_bytes()
    (tmp_path / "inner.zip").unlink()
    members = [*((f"{index}.zip", inner) for index in range(4)), ("last.dcm", dicom_bytes())]
    pack_members(tmp_path / "outer.zip", members)
    found = find_series(tmp_path)
    told = [one.path.name for one in found.skipped if "TOO_LARGE" in one.reason]
    assert told == ["2.zip", "3.zip"]
    assert sum(one.path.suffix == ".txt" for one in found.skipped) == 6
    assert len(found.series[0].instances) == 1


def test_damaged_archives_raise_nothing_but_rows(tmp_path: Path) -> None:
    raw = craft([(f"{index}.dcm".encode(), dicom_bytes(index), {"deflate": 1}) for index in range(3)], comment=b"note")
    draw = random.Random(7)
    for _ in range(100):
        broken = bytearray(raw)
        for _ in range(draw.randint(1, 4)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        (tmp_path / "a.zip").write_bytes(broken[: draw.choice([len(raw), len(raw), draw.randrange(4, len(raw))])])
        found = find_series(tmp_path)
        assert found.series or found.skipped


def test_zip64_and_prefixed_archives(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file, file.open("a.dcm", "w", force_zip64=True) as member:
        member.write(dicom_bytes())
    assert len(find_series(tmp_path / "a.zip").series) == 1


def test_tar_and_other_archives_are_named(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as file:
        file.add(__file__, "x")
    (tmp_path / "b.tgz").write_bytes(b"\x1f\x8b\x08rest")
    (tmp_path / "c.rar").write_bytes(b"Rar!rest")
    assert reasons(tmp_path) == {
        "a.tar": "a tar archive: unpack it, or pack it as ZIP",
        "b.tgz": "a gzip archive: unpack it, or pack it as ZIP",
        "c.rar": "a RAR archive: unpack it, or pack it as ZIP",
    }


def test_an_office_document_is_one_row(tmp_path: Path) -> None:
    from PIL import Image

    held = BytesIO()
    Image.new("L", (4, 4)).save(held, "PNG")
    pictures = [(f"word/media/{index}.png", held.getvalue()) for index in range(3)]
    pack_members(tmp_path / "report.docx", [("[Content_Types].xml", b"<x/>"), *pictures])
    assert reasons(tmp_path) == {"report.docx": "not an image: an office document or a program"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_reads_like_a_file_in_any_order(tmp_path: Path, method: int) -> None:
    data = random.Random(3).randbytes(300_000)
    archive = pack_members(tmp_path / "a.zip", [("x", data)], method=method)
    draw = random.Random(5)
    with open_file(archive / "x") as file:
        for _ in range(50):
            place, count = draw.randrange(len(data)), draw.randrange(100_000)
            file.seek(place)
            assert file.read(count) == data[place : place + count]


def test_threads_and_a_forked_child_read_one_archive(tmp_path: Path) -> None:
    data = {f"{index}": random.Random(index).randbytes(200_000) for index in range(8)}
    archive = pack_members(tmp_path / "a.zip", data.items())
    wrong = []

    def compare() -> None:
        for name in data:
            with open_file(archive / name) as file:
                if file.read() != data[name]:
                    wrong.append(name)

    threads = [threading.Thread(target=compare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    child = os.fork()
    if child == 0:
        compare()
        os._exit(len(wrong))
    assert os.waitpid(child, 0)[1] == 0
    assert wrong == []


def test_an_archive_that_changed_is_read_anew(tmp_path: Path) -> None:
    archive = pack_members(tmp_path / "a.zip", [("x", b"first")])
    assert open_file(archive / "x").read() == b"first"
    pack_members(archive, [("x", b"second one")])
    assert open_file(archive / "x").read() == b"second one"


def test_the_private_copy_of_a_member_has_a_name_of_ours_and_is_deleted(tmp_path: Path) -> None:
    archive = pack_members(tmp_path / "a.zip", [("Secret Person.nrrd", b"data")])
    with real_file(archive / "Secret Person.nrrd") as copy:
        assert copy.name == "volume.nrrd"
        assert copy.read_bytes() == b"data"
    assert not copy.parent.exists()
