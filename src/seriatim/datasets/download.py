"""Fetch one file over HTTP: in pieces where the connection breaks, whole or not at all, and never more than agreed."""

from __future__ import annotations

import logging
import os
import re
import urllib.error
import urllib.request
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
FRUITLESS = 3
"""So many attempts in a row without one more byte end the download."""
RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def download(file: PublishedFile, url: str, folder: Path) -> Path:
    """The file in ``folder``, fetched unless it is there already, verified before it gets its name.

    What arrives goes to ``NAME.partial``. A connection that breaks is taken up where it broke (RFC 9110, section 14:
    Range, with If-Range so that a file that changed meanwhile starts anew), also by a later call.

    Raises:
        ConfigError: ``url`` is no http or https address.
        InputError: it cannot be fetched, is larger than ``file.most_bytes``, or its checksum is wrong; then the partial
            file is removed.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"{url} is no http address. Give --from a base address, a file or a folder.")
    path = folder / file.name
    if path.is_file():
        verify(path, file)
        return path
    if os.environ.get(OFFLINE, "") not in ("", "0"):
        raise InputError(f"{OFFLINE} forbids to download {file.name}.")
    partial = _Partial(path)
    _fetch(url, partial, most_bytes=file.most_bytes)
    try:
        verify(partial.path, file)
    except InputError as error:
        partial.remove()
        raise InputError(f"What {urlsplit(url).hostname} sent was removed: {error}") from error
    partial.finish(path)
    return path


class _Partial:
    """What arrived so far, and the ETag or date of what it is a part of."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(path.name + ".partial")
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

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        self.path.replace(path)
        self._version.unlink(missing_ok=True)


def _fetch(url: str, partial: _Partial, *, most_bytes: int) -> None:
    fruitless = 0
    while True:
        before = partial.held
        try:
            if _fetch_rest(url, partial, most_bytes=most_bytes):
                return
            reason = "the connection broke"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the partial file is no beginning of what is there now
                partial.remove()
            elif error.code < 500:
                raise InputError(f"{urlsplit(url).hostname} answers {error.code} to {urlsplit(url).path}.") from error
            reason = f"it answers {error.code}"
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", "") or type(error).__name__)
        fruitless = 0 if partial.held > before else fruitless + 1
        if fruitless == FRUITLESS:
            raise InputError(f"{urlsplit(url).hostname} cannot be reached or does not go on: {reason}. "
                             "What arrived is kept; the same command takes it up.")
        logger.info("%s: %s; taking it up at byte %d", partial.path.name, reason, partial.held)


def _fetch_rest(url: str, partial: _Partial, *, most_bytes: int) -> bool:
    """One attempt; whether the file is whole now."""
    held, version = partial.held, partial.version
    headers = {"User-Agent": "seriatim", "Accept-Encoding": "identity"}
    if held and version:
        headers |= {"Range": f"bytes={held}-", "If-Range": version}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme was checked
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        goes_on = response.status == 206 and _starts_at(response) == held
        if response.status == 206 and not goes_on:
            partial.remove()
            return False
        if not goes_on:
            partial.begin(_version_of(response))
        length = response.headers.get("Content-Length")
        total = None if length is None else partial.held + int(length)
        if (total or 0) > most_bytes:
            host = urlsplit(url).hostname
            raise InputError(f"{host} sends {total} bytes, more than the {most_bytes} that it may be.")
        _copy(response, partial, most_bytes=most_bytes)
    return total is None or partial.held == total


def _copy(response: HTTPResponse, partial: _Partial, *, most_bytes: int) -> None:
    held = partial.held
    with partial.path.open("ab") as file:
        while block := response.read(BLOCK_BYTES):
            held += len(block)
            if held > most_bytes:
                break
            file.write(block)
    if held > most_bytes:
        partial.remove()
        raise InputError(f"More than the {most_bytes} bytes that it may be were sent; what arrived was removed.")


def _starts_at(response: HTTPResponse) -> int | None:
    found = RANGE.match(response.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _version_of(response: HTTPResponse) -> str:
    """What tells this version of the file: a strong ETag, else its date; "" where nothing does, so nothing resumes."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified", "")
