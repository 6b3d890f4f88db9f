"""A worker whose decoder breaks on purpose: the worker's own machinery with another function, started by tests."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time

import numpy as np

from seriatim.io.isolation import worker
from seriatim.io.isolation.memory import SharedMemory, share_array
from seriatim.io.read import read_here as read_for_real
from seriatim.io.values import Allocate
from seriatim.series.series import Series, Volume


def read_here(series: Series, allocate: Allocate, threads: int) -> Volume:
    """Read a series, after what its folder's name asks for: ``bad-segfault`` kills this process, and so on."""
    fault = FAULTS.get(series.path.name.removeprefix("bad-"))
    if fault is not None:
        fault()
    return read_for_real(series, allocate, threads)


def segfault() -> None:
    ctypes.string_at(0)


def hang() -> None:
    while True:
        pass


def hang_in_native_code() -> None:
    ctypes.PyDLL(None).pause()  # with the lock of the interpreter held: no Python code runs, no signal is seen


def allocate() -> None:
    np.ones(10 << 30, dtype=np.uint8)


def answer_rubbish() -> None:
    socket.socket(fileno=os.dup(int(sys.argv[1]))).sendall(b"\x05\0\0\0\0\0\0\0{{{{{")
    time.sleep(60)


def answer_endlessly() -> None:
    socket.socket(fileno=os.dup(int(sys.argv[1]))).sendall(b"\xff" * 8)
    time.sleep(60)


def answer_pixels_of_a_wrong_size() -> None:
    SharedMemory.share = lambda _, array: share_array(array[..., :-1])  # type: ignore[method-assign]


def end_quietly() -> None:
    os._exit(0)


def chatter() -> None:
    for stream in (1, 2):
        os.write(stream, b"the decoder says something\n" * 10_000)


FAULTS = {
    "segfault": segfault, "abort": os.abort, "hang": hang, "native-hang": hang_in_native_code, "allocate": allocate,
    "rubbish": answer_rubbish, "endless": answer_endlessly, "size": answer_pixels_of_a_wrong_size, "quiet": end_quietly,
    "chatter": chatter,
}

if __name__ == "__main__":
    worker.serve({"read_here": "__main__"})
