"""Fetch one file over HTTP: in pieces where the connection breaks, whole or not at all, and never more than agreed."""

from __future__ import annotations

import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

from seriatim.datasets.checks import verify
from seriatim.datasets.dataset import PublishedFile
from seriatim.errors import ConfigError, InputError

logger = logging.getLogger(__name__)

OFFLINE = "SERIATIM_OFFLINE"
TIMEOUT_S = 30.0
BLOCK_BYTES = 1 << 18
FRUITLESS, WAIT_S = 3, 1.0
"""So many attempts in a row without one more byte end the download; and the wait after the first of them."""
PART, RANGE_IS_WRONG, PASSING = 206, 416, (408, 429)
"""HTTP status codes; those that pass by themselves are asked again, as all of 500 and more are."""
Advance = Callable[[int, int], None]
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def ignore(held: int, total: int) -> None:
    """Nobody watches."""


def download(file: PublishedFile, url: str, folder: Path, advance: Advance = ignore) -> Path:
    """The file in ``folder``, fetched unless it is there already, verified before it gets its name.

    What arrives goes to ``NAME.partial``. A connection that breaks is taken up where it broke (RFC 9110, section 14:
    Range, with If-Range so that a file that changed meanwhile starts anew), also by a later call.

    Args:
        file: what it is, and how it is verified.
        url: where it is now: its publisher's address or a mirror's.
        folder: where it shall lie.
        advance: told the bytes that are here and the bytes there will be (0: not known).

    Raises:
        ConfigError: ``url`` is no http or https address.
        InputError: it cannot be fetched, is larger than ``file.most_bytes``, or its checksum is wrong; then the partial
            file is removed.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"{url} is no http address. Give --from a base address, a file or a folder.")
    path = folder / file.name
    if _is_verified(path, file):
        return path
    if os.environ.get(OFFLINE, "") not in ("", "0"):
        raise InputError(f"{OFFLINE} forbids to download {file.name}.")
    partial = _Partial(path, most_bytes=file.most_bytes)
    _fetch(url, partial, advance)
    try:
        verify(partial.path, file)
    except InputError as error:
        partial.remove()
        raise InputError(f"What {urlsplit(url).hostname} sent was removed: {error}") from error
    partial.finish(path)
    return path


def _is_verified(path: Path, file: PublishedFile) -> bool:
    """Whether the file is here and whole; one that was damaged since is fetched anew."""
    if not path.is_file():
        return False
    try:
        verify(path, file)
    except InputError:
        path.unlink()
        return False
    return True


class _Partial:
    """What arrived so far, and the ETag or date of what it is a part of."""

    def __init__(self, path: Path, *, most_bytes: int) -> None:
        self.path = path.with_name(path.name + ".partial")
        self.most_bytes = most_bytes
        self._version = path.with_name(path.name + ".partial.version")

    @property
    def held(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def version(self) -> str:
        return self._version.read_text(encoding="utf-8") if self._version.is_file() else ""

    def begin(self, version: str) -> None:
        self.path.write_bytes(b"")
        self._version.write_text(version, encoding="utf-8")

    def append(self, response: HTTPResponse, advance: Advance, *, total: int) -> None:
        held = self.held
        with self.path.open("ab") as file:
            while held <= self.most_bytes and (block := response.read(BLOCK_BYTES)):
                file.write(block)
                held += len(block)
                advance(held, total)
        if held > self.most_bytes:
            self.remove()
            raise InputError(f"More than the {self.most_bytes} bytes that it may be were sent; they were removed.")

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        self.path.replace(path)
        self._version.unlink(missing_ok=True)


def _fetch(url: str, partial: _Partial, advance: Advance) -> None:
    """Fetch until it is whole; wait a little longer each time that nothing came."""
    fruitless = 0
    while True:
        before = partial.held
        try:
            if _fetch_rest(url, partial, advance):
                return
            reason = "the connection broke"
        except urllib.error.HTTPError as error:
            if error.code == RANGE_IS_WRONG:  # the partial file is no beginning of what is there now
                partial.remove()
            elif error.code not in PASSING and error.code < 500:
                raise InputError(f"{urlsplit(url).hostname} answers {error.code} to {urlsplit(url).path}.") from error
            reason = f"it answers {error.code}"
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", "") or type(error).__name__)
        fruitless = 0 if partial.held > before else fruitless + 1
        if fruitless == FRUITLESS:
            raise InputError(
                f"{urlsplit(url).hostname} cannot be reached or does not go on: {reason}. What arrived is kept; the "
                "same command takes it up."
            )
        time.sleep(WAIT_S * fruitless)
        logger.info("%s: %s; taking it up at byte %d", partial.path.name, reason, partial.held)


def _fetch_rest(url: str, partial: _Partial, advance: Advance) -> bool:
    """One attempt; whether the file is whole now."""
    held, version = partial.held, partial.version
    headers = {"User-Agent": "seriatim", "Accept-Encoding": "identity"}
    if held and version:
        headers |= {"Range": f"bytes={held}-", "If-Range": version}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was checked
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        if response.status != PART:
            partial.begin(_version_of(response))
        elif _starts_at(response) != held or _version_of(response) not in ("", version):
            partial.remove()  # a part of something else
            return False
        length = response.headers.get("Content-Length")
        total = 0 if length is None else partial.held + int(length)
        if total > partial.most_bytes:
            host = urlsplit(url).hostname
            raise InputError(f"{host} sends {total} bytes, more than the {partial.most_bytes} that it may be.")
        partial.append(response, advance, total=total)
    return not total or partial.held == total


def _starts_at(response: HTTPResponse) -> int | None:
    found = RANGE.match(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _version_of(response: HTTPResponse) -> str:
    """What tells this version of the file: a strong ETag, else its date; "" where nothing does, so nothing resumes."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
