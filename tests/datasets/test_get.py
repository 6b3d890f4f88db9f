"""seriatim get: from a mirror or a folder to a config that trains; nothing without an accepted licence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from loopback import Server, serve
from npz_sets import SMALL, write_npz

from seriatim.datasets import DATASETS, Dataset, catalogue
from seriatim.datasets.dataset import PublishedFile
from seriatim.datasets.medmnist import prepare
from seriatim.experiment import Experiment
from tiny_runs import CommandLine

NAME = "smallmnist3d"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A small set with its own checksum, served at ``/sets/smallmnist3d.npz``, in place of the real ones."""
    write_npz(tmp_path / "source.npz")
    content = (tmp_path / "source.npz").read_bytes()
    md5 = hashlib.md5(content).hexdigest()
    spec = replace(SMALL, md5={28: md5, 64: md5})
    monkeypatch.delenv("SERIATIM_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("seriatim.datasets.download.WAIT_S", 0.0)
    with serve(content) as server:
        file = PublishedFile(name=f"{NAME}.npz", url=f"{server.base}/sets/{NAME}.npz?download=1", md5=md5)
        real = DATASETS["adrenalmnist3d"]
        small = replace(real, name=NAME, file=file, prepare=partial(prepare, spec=spec, size=28))
        behind = replace(small, name="behind", file=replace(file, url=None))
        sets: Mapping[str, Dataset] = {NAME: small, "behind": behind}
        monkeypatch.setattr(catalogue, "DATASETS", sets)
        yield server


@pytest.mark.parametrize("place", ["publisher", "mirror", "address", "folder", "file"])
def test_a_set_is_got_from_anywhere(
    published: Server, seriatim_command: CommandLine, tmp_path: Path, place: str
) -> None:
    sources = {"mirror": f"{published.base}/sets/", "address": f"{published.base}/sets/{NAME}.npz",
               "folder": tmp_path / "mine", "file": tmp_path / "mine" / f"{NAME}.npz"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / f"{NAME}.npz").write_bytes(published.content)
    arguments = [] if place == "publisher" else ["--from", sources[place]]
    done = seriatim_command("get", NAME, "--output", tmp_path / "out", "--accept-licence", *arguments)
    assert done.code == 0, done.err
    assert "licence: CC BY 4.0" in done.out
    assert "doi:10.1038/s41597-022-01721-8" in done.out
    assert "13 series" in done.out
    receipt = json.loads((tmp_path / "out" / "receipt.json").read_text())
    assert receipt["check"].endswith("as published")
    assert receipt["licence"]["accepted"] is True
    sums = (tmp_path / "out" / "SHA256SUMS").read_text().split("  ")
    assert sums[0] == hashlib.sha256(published.content).hexdigest()
    assert (tmp_path / "out" / sums[1].strip()).is_file()
    assert Experiment.read(tmp_path / "out" / "train.yaml").data.manifest == tmp_path / "out" / "labels.csv"


def test_what_was_got_trains_at_once(published: Server, seriatim_command: CommandLine, tmp_path: Path) -> None:
    assert seriatim_command("get", NAME, "--output", tmp_path / "out", "--accept-licence").code == 0
    done = seriatim_command("train", tmp_path / "out" / "train.yaml", "--output", tmp_path / "run",
                            "--set", "training={epochs: 1, accelerator: cpu}", "--set", "data.reading.isolated=false")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run" / "split.json").read_text())["splits"]["test"]["series"] == 4


def test_getting_again_gives_the_same_files_and_fetches_nothing(
    published: Server, seriatim_command: CommandLine, tmp_path: Path
) -> None:
    def contents() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}

    assert seriatim_command("get", NAME, "--output", tmp_path / "out", "--accept-licence").code == 0
    first = contents()
    assert seriatim_command("get", NAME, "--output", tmp_path / "out", "--accept-licence").code == 0
    assert contents() == first
    assert len(published.asked) == 1


def test_a_call_that_was_stopped_is_done_again(
    published: Server, seriatim_command: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "out" / "volumes").mkdir(parents=True)
    (tmp_path / "out" / "volumes" / "train_0000.nii.gz").write_bytes(b"half")
    (tmp_path / "out" / "receipt.json").write_text(json.dumps({"name": NAME, "complete": False}))
    assert seriatim_command("get", NAME, "--output", tmp_path / "out", "--accept-licence").code == 0
    assert json.loads((tmp_path / "out" / "receipt.json").read_text())["complete"] is True
    assert seriatim_command("inspect", tmp_path / "out" / "volumes").code == 0


def test_without_an_accepted_licence_nothing_is_fetched_or_written(
    published: Server, seriatim_command: CommandLine, tmp_path: Path
) -> None:
    done = seriatim_command("get", NAME, "--output", tmp_path / "out")
    assert done.code == 2
    assert "--accept-licence" in done.err
    assert "CC BY 4.0" in done.err
    assert not (tmp_path / "out").exists()
    assert published.asked == []


@pytest.mark.parametrize("why", ["offline", "sign-in", "gone"])
def test_what_cannot_be_had_says_what_to_put_where(
    published: Server, seriatim_command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    if why == "offline":
        monkeypatch.setenv("SERIATIM_OFFLINE", "1")
    name = "behind" if why == "sign-in" else NAME
    arguments = ["--from", f"{published.base}/nowhere"] if why == "gone" else []
    done = seriatim_command("get", name, "--output", tmp_path / "out", "--accept-licence", *arguments)
    assert done.code == 2
    assert f"Get {NAME}.npz from https://zenodo.org/records/10519652 and name the folder it lies in: --from" in done.err


def test_a_folder_of_something_else_is_left_alone(
    published: Server, seriatim_command: CommandLine, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "labels.csv").write_text("mine")
    done = seriatim_command("get", NAME, "--output", other, "--accept-licence")
    assert done.code == 2
    assert "is not empty" in done.err
    assert (other / "labels.csv").read_text() == "mine"
    (other / "receipt.json").write_text('{"name": "pocus"}')
    assert "holds pocus" in seriatim_command("get", NAME, "--output", other, "--accept-licence").err
    assert published.asked == []


def test_the_list_names_every_set_with_its_licence(seriatim_command: CommandLine) -> None:
    done = seriatim_command("get")
    assert done.code == 0
    assert all(name in done.out for name in DATASETS)
    assert done.out.count("CC BY 4.0") == 12
    assert set(DATASETS) >= {"ct_ich", "pocus", "organmnist3d", "synapsemnist3d_64"}


def test_an_unknown_name_is_answered_with_near_ones(seriatim_command: CommandLine, tmp_path: Path) -> None:
    done = seriatim_command("get", "adrenal", "--output", tmp_path, "--accept-licence")
    assert done.code == 2
    assert "adrenalmnist3d" in done.err
