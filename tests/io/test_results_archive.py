"""Results in an archive: sent to an Orthanc on this machine, they lie with their images, and come back as they were."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pydicom
import pytest
from dicom_files import make_stack, random_stack, save_stack
from results_of import find_one, make_result

pytest.importorskip("highdicom", reason="the extra dicom-results is not installed")

from seriatim.io.results.write import write_results

HOST = "127.0.0.1"
MISSING = [name for name in ("Orthanc", "dcmsend") if shutil.which(name) is None]
pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(bool(MISSING), reason=f"{' and '.join(MISSING)} (orthanc, dcmtk) not installed")]


def free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


class Archive:
    """Orthanc, by its two doors."""

    def __init__(self, folder: Path) -> None:
        self.web, self.dicom = free_port(), free_port()
        settings = {
            "Name": "test", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "HttpPort": self.web, "DicomPort": self.dicom, "RemoteAccessAllowed": False, "DicomAet": "TEST",
            "AuthenticationEnabled": False, "DicomCheckCalledAet": False, "Plugins": [],
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with (folder / "log.txt").open("w") as log:
            self.process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
        for _ in range(120):
            try:
                assert self.ask("system")
                return
            except (URLError, ConnectionError):
                time.sleep(0.25)
        self.stop()
        raise AssertionError((folder / "log.txt").read_text()[-2000:])

    def ask(self, path: str, body: bytes | None = None) -> Any:
        return json.loads(self.get(path, body))

    def get(self, path: str, body: bytes | None = None) -> bytes:
        with urlopen(Request(f"http://{HOST}:{self.web}/{path}", data=body), timeout=30) as answer:
            return bytes(answer.read())

    def send(self, *folders: Path) -> None:
        command = ["dcmsend", "--recurse", "--scan-directories", HOST, str(self.dicom), *map(str, folders)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=20)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    (tmp_path / "orthanc").mkdir()
    one = Archive(tmp_path / "orthanc")
    yield one
    one.stop()


def test_results_lie_with_their_images_and_come_back_as_they_were(tmp_path: Path, archive: Archive) -> None:
    charset = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jürgen", "AccessionNumber": "A1",
               "StudyDate": "20260102", "StudyTime": "101112", "StudyID": "7"}
    series = find_one(save_stack(make_stack(random_stack(3), **charset), tmp_path / "in"))
    filed = write_results(make_result(series), tmp_path / "out")
    archive.send(tmp_path / "in", tmp_path / "out")
    write_results(make_result(series), tmp_path / "again")
    archive.send(tmp_path / "again")  # the same objects, made anew: nothing is added
    assert [len(archive.ask(name)) for name in ("patients", "studies", "series", "instances")] == [1, 1, 6, 8]
    (patient,) = archive.ask("patients?expand")
    assert patient["MainDicomTags"]["PatientID"] == "SECRET-ID"
    assert patient["MainDicomTags"]["PatientName"] == "Müller^Jürgen"
    kinds = {one["MainDicomTags"]["SeriesDescription"]: one["MainDicomTags"]["Modality"]
             for one in archive.ask("series?expand") if "SeriesDescription" in one["MainDicomTags"]}
    assert sorted(kinds.values()) == ["KO", "OT", "OT", "OT", "SR"]
    assert all(name.startswith("seriatim tiny: ") and name.endswith("(research use)") for name in kinds)
    for one in filed.files:
        (found,) = archive.ask("tools/lookup", one.sop_instance_uid.encode())
        back = pydicom.dcmread(BytesIO(archive.get(f"instances/{found['ID']}/file")))
        assert back == pydicom.dcmread(one.path)
        if one.path.stem in ("attention", "gradcam", "summary"):  # the archive draws them too
            assert archive.get(f"instances/{found['ID']}/preview").startswith(b"\x89PNG")
