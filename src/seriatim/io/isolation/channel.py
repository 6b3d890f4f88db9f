"""Messages between a process and its worker: JSON with a length before it, and pixels as anonymous shared memory.

Pixels travel as the descriptor of a memory file that has no name: nothing is copied through the pipe, and the system
frees it when the last process that holds it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import mmap
import os
import socket
import tempfile
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seriatim.io.isolation.wire import WireError

HEAD_BYTES = 8
MAX_MESSAGE_BYTES = 1 << 28
WRITE_STEP = 1 << 30
DTYPES = frozenset({"|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8"})


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


def share_array(array: NDArray[Any]) -> int:
    """The descriptor of a nameless memory file (of a nameless disk file where the system has none) with the pixels.

    Raises:
        OSError: there is no room.
    """
    descriptor = _open_nameless()
    try:
        whole = _bytes_of(np.ascontiguousarray(array))
        for start in range(0, len(whole), WRITE_STEP):
            _write(descriptor, whole[start : start + WRITE_STEP])
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _open_nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("seriatim", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(descriptor: int, part: memoryview) -> None:
    while part:
        part = part[os.write(descriptor, part) :]


def map_array(descriptor: int, *, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The pixels in a memory file that another process made, freed with the array.

    The array may be written to; what is written stays in this process.

    Raises:
        WireError: the dtype is not one of pixels, or the file does not hold just as many bytes.
    """
    if dtype not in DTYPES or not shape or min(shape) < 1:
        raise WireError(f"no array: {dtype} {shape}")
    kind = np.dtype(dtype)
    needed = math.prod(shape) * kind.itemsize
    sealed = _seal(descriptor)
    if os.fstat(descriptor).st_size != needed:
        raise WireError(f"{os.fstat(descriptor).st_size} bytes instead of {needed}")
    if not sealed:  # it could still be cut short, which would end this process: take a copy
        array = np.empty(shape, dtype=kind)
        _read_into(descriptor, array)
        return array
    memory = mmap.mmap(descriptor, needed, access=mmap.ACCESS_COPY)
    return np.frombuffer(memory, dtype=kind).reshape(shape)


def _seal(descriptor: int) -> bool:
    """Fix content and size of a memory file, so that its maker cannot change them; False where that cannot be."""
    with contextlib.suppress(AttributeError, OSError):
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        return True
    return False


def _read_into(descriptor: int, array: NDArray[Any]) -> None:
    left, place = _bytes_of(array), 0
    while left:
        count = os.preadv(descriptor, [left[:WRITE_STEP]], place)
        if not count:
            raise WireError("the pixels end too early")
        left, place = left[count:], place + count
