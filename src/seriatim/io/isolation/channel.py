"""Messages between a process and its worker: JSON with a length before it, and the descriptor of a memory file."""

from __future__ import annotations

import json
import math
import os
import socket
from time import monotonic
from typing import Any

from seriatim.io.isolation.wire import WireError

HEAD_BYTES = 8
MAX_MESSAGE_BYTES = 1 << 28


class ClosedError(Exception):
    """The other side is gone."""


class Channel:
    """One end of the talk."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def send(self, message: dict[str, Any], descriptor: int | None = None) -> None:
        """Send a message and, with it, a descriptor.

        Raises:
            ClosedError: nobody is there.
        """
        body = json.dumps(message).encode("ascii")
        head = len(body).to_bytes(HEAD_BYTES, "little")
        self._end.settimeout(None)
        try:
            if descriptor is None:
                self._end.sendall(head)
            else:
                socket.send_fds(self._end, [head], [descriptor])
            self._end.sendall(body)
        except OSError as error:
            raise ClosedError from error

    def receive(self, deadline: float = math.inf) -> tuple[dict[str, Any], int | None]:
        """The next message, and the descriptor that came with it, which is the caller's to close.

        Raises:
            TimeoutError: it was not whole at ``deadline`` (of ``time.monotonic``).
            ClosedError: nobody is there.
            WireError: it is no message.
        """
        descriptors: list[int] = []
        try:
            head = self._read(HEAD_BYTES, deadline, descriptors)
            message = _parse(self._read(_size_in(head), deadline, descriptors))
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        for descriptor in descriptors[1:]:
            os.close(descriptor)
        return message, descriptors[0] if descriptors else None

    def _read(self, size: int, deadline: float, descriptors: list[int]) -> bytes:
        parts: list[bytes] = []
        missing = size
        while missing:
            self._wait_until(deadline)
            try:
                part, received, _, _ = socket.recv_fds(self._end, min(missing, 1 << 20), 1)
            except (BlockingIOError, TimeoutError) as error:
                raise TimeoutError from error
            except OSError as error:
                raise ClosedError from error
            descriptors += received
            if not part:
                raise ClosedError
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _wait_until(self, deadline: float) -> None:
        left = None if deadline == math.inf else deadline - monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self._end.settimeout(left)


def _size_in(head: bytes) -> int:
    size = int.from_bytes(head, "little")
    if size > MAX_MESSAGE_BYTES:
        raise WireError(f"a message of {size} bytes")
    return size


def _parse(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise WireError("no JSON") from error
    if not isinstance(message, dict):
        raise WireError("no message")
    return message
