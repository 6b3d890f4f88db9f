"""A download is whole and verified, or it is not there; what broke off goes on where it broke."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Server, serve

from seriatim.datasets.dataset import PublishedFile
from seriatim.datasets.download import download
from seriatim.errors import ConfigError, InputError

CONTENT = bytes(range(256)) * 4000
FILE = PublishedFile(name="set.npz", url=None, md5=hashlib.md5(CONTENT).hexdigest(), most_bytes=1 << 21)
UNCHECKED = PublishedFile(name="set.npz", url=None, most_bytes=1 << 21)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("SERIATIM_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("seriatim.datasets.download.WAIT_S", 0.0)
    with serve(CONTENT) as server:
        yield server


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_once(server: Server, tmp_path: Path) -> None:
    path = download(FILE, f"{server.base}/good.bin", tmp_path)
    assert path.read_bytes() == CONTENT
    assert left(tmp_path) == ["set.npz"]
    assert download(FILE, f"{server.base}/good.bin", tmp_path) == path
    assert server.asked == [None]


def test_a_broken_connection_goes_on_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cut_after = [300_000, 200_000]
    assert download(FILE, f"{server.base}/good.bin", tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=300000-", "bytes=500000-"]


def test_a_stopped_download_goes_on_in_a_later_call(server: Server, tmp_path: Path) -> None:
    server.cut_after = [400_000, 0, 0, 0]
    with pytest.raises(InputError, match="the same command takes it up"):
        download(FILE, f"{server.base}/good.bin", tmp_path)
    assert left(tmp_path) == ["set.npz.partial", "set.npz.partial.version"]
    server.asked.clear()
    assert download(FILE, f"{server.base}/good.bin", tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=400000-"]
    assert left(tmp_path) == ["set.npz"]


def test_a_file_that_changed_meanwhile_starts_anew(server: Server, tmp_path: Path) -> None:
    server.cut_after = [400_000, 0, 0, 0]
    with pytest.raises(InputError):
        download(UNCHECKED, f"{server.base}/good.bin", tmp_path)
    server.content, server.etag = CONTENT[::-1], '"two"'
    assert download(UNCHECKED, f"{server.base}/good.bin", tmp_path).read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize("broken", ["ranges", "etag"])
def test_a_server_that_cannot_go_on_starts_anew(server: Server, tmp_path: Path, broken: str) -> None:
    setattr(server, broken, "" if broken == "etag" else False)
    server.cut_after = [300_000]
    assert download(FILE, f"{server.base}/good.bin", tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, None if broken == "etag" else "bytes=300000-"]


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.refuse_with = [503, 429]
    told: list[tuple[int, int]] = []
    path = download(FILE, f"{server.base}/good.bin", tmp_path, lambda held, total: told.append((held, total)))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_a_part_of_another_version_is_not_joined(server: Server, tmp_path: Path) -> None:
    server.cut_after = [400_000, 0, 0, 0]
    with pytest.raises(InputError):
        download(UNCHECKED, f"{server.base}/good.bin", tmp_path)
    server.content, server.etag, server.minds_versions = CONTENT[::-1], '"two"', False
    assert download(UNCHECKED, f"{server.base}/good.bin", tmp_path).read_bytes() == CONTENT[::-1]


def test_a_partial_file_that_is_longer_than_the_file_starts_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.npz.partial").write_bytes(CONTENT + b"more")
    (tmp_path / "set.npz.partial.version").write_text('"one"')
    assert download(FILE, f"{server.base}/good.bin", tmp_path).read_bytes() == CONTENT


def test_a_file_that_was_damaged_since_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(CONTENT[:1000])
    assert download(FILE, f"{server.base}/good.bin", tmp_path).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(InputError, match=r"127\.0\.0\.1 sent was removed: .* published is"):
        download(FILE, f"{server.base}/good.bin", tmp_path)
    assert left(tmp_path) == []


def test_an_older_partial_file_of_other_bytes_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.npz.partial").write_bytes(b"x" * 1000)
    (tmp_path / "set.npz.partial.version").write_text('"one"')
    with pytest.raises(InputError, match="was removed"):
        download(FILE, f"{server.base}/good.bin", tmp_path)
    assert left(tmp_path) == []
    assert download(FILE, f"{server.base}/good.bin", tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("tells_length", [True, False])
def test_more_than_agreed_is_refused(server: Server, tmp_path: Path, tells_length: bool) -> None:
    server.tells_length = tells_length
    small = PublishedFile(name="set.npz", url=None, most_bytes=1000)
    with pytest.raises(InputError, match="1000"):
        download(small, f"{server.base}/good.bin", tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000


def test_what_is_not_there_and_who_is_not_there_are_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="answers 404 to /gone"):
        download(FILE, f"{server.base}/gone", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(InputError, match="cannot be reached"):
        download(FILE, f"http://127.0.0.1:{port}/good.bin", tmp_path)


def test_offline_forbids_and_other_schemes_are_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no http address"):
        download(FILE, "file:///etc/passwd", tmp_path)
    monkeypatch.setenv("SERIATIM_OFFLINE", "1")
    with pytest.raises(InputError, match="SERIATIM_OFFLINE forbids"):
        download(FILE, f"{server.base}/good.bin", tmp_path)
    assert server.asked == []
