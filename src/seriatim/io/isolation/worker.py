"""The worker process: runs parsers and decoders of other people's files, so that what they break is not ours.

It runs a closed set of functions by name, under a limit of memory and of time, and answers over the channel it was born
with. It ends with its parent, and knows neither torch nor the models. Started by ``isolated.py``.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, get_type_hints

from seriatim.errors import DecoderError, InputError, SeriatimError
from seriatim.io.isolation.channel import Channel, ClosedError
from seriatim.io.isolation.limits import memory_bytes
from seriatim.io.isolation.memory import SharedMemory
from seriatim.io.isolation.wire import from_plain, to_plain
from seriatim.series.series import Volume

Functions = Mapping[str, str]
"""Name -> module: the functions that a worker runs; their annotations say what they take and give."""
FUNCTIONS: Functions = {
    "read_here": "seriatim.io.read",
    "find_nifti": "seriatim.io.volumes.nifti",
    "find_itk": "seriatim.io.volumes.itk",
    "find_clip": "seriatim.io.pictures.video",
    "find_pages": "seriatim.io.pictures.pictures",
    "count_pages": "seriatim.io.pictures.pictures",
    "find_stack": "seriatim.io.pictures.pictures",
    "have_same_values": "seriatim.io.dicom.duplicates",
}
SET_PARENT_DEATH_SIGNAL = 1
FIRST_TO_GO = "500"
"""Of 1000: where memory runs out, the system ends a worker, which costs one series, before any process that is not
half the machine's memory larger.
"""
ERRORS: Mapping[str, Callable[[str], Exception]] = {
    "InputError": InputError, "DecoderError": DecoderError, "MemoryError": MemoryError,
    "OSError": lambda text: OSError(0, text),
}


def main() -> None:
    """Serve on the channel whose descriptor is the first argument, for the parent whose id is the second."""
    serve(FUNCTIONS)


def serve(functions: Functions) -> None:
    """Answer calls until the parent is gone."""
    for stop in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C, and what a service manager sends to all of a service
        signal.signal(stop, signal.SIG_IGN)  # are the parent's to answer
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold pixels
    _end_with_parent(int(sys.argv[2]))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO, encoding="ascii")
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    with suppress(ClosedError):
        channel.send({"ready": True})
        while True:
            request, _ = channel.receive()
            _answer(channel, request, functions)


def _end_with_parent(parent: int) -> None:
    """Have the system end this process when its parent dies (Linux; elsewhere it ends when the channel closes)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _answer(channel: Channel, request: dict[str, Any], functions: Functions) -> None:
    descriptor = None
    signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # ends a worker that hangs when its parent cannot
    try:
        message, descriptor = _run(request, functions)
    except MemoryError:
        message = {"error": "MemoryError", "text": ""}
    except Exception as error:  # noqa: BLE001 - the parent raises it again
        message = _describe(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        channel.send(message | {"cpu_seconds": time.process_time()}, descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _run(request: dict[str, Any], functions: Functions) -> tuple[dict[str, Any], int | None]:
    function = _find(request["call"], functions)
    if request["folder"]:
        os.chdir(request["folder"])  # a relative path means what it means to the parent at this call
    kinds = list(kinds_of(function).items())
    arguments = [from_plain(kind, plain) for (_, kind), plain in zip(kinds, request["arguments"], strict=False)]
    with _memory_limit(arguments, most=request["most_bytes"]):
        if kinds[-1] != ("return", Volume):
            return {"result": to_plain(function(*arguments))}, None
        with SharedMemory() as memory:
            return _give_volume(function(*arguments, memory.allocate, request["threads"]), memory)


def _give_volume(volume: Volume, memory: SharedMemory) -> tuple[dict[str, Any], int]:
    said = {name: to_plain(getattr(volume, name)) for name in volume_kinds()}
    descriptor = memory.share(volume.array)
    return {"result": said, "dtype": volume.array.dtype.str, "shape": volume.array.shape}, descriptor


def _find(name: str, functions: Functions) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(importlib.import_module(functions[name]), name)
    return function


@functools.cache
def kinds_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The types of what a function (or a class) takes and, under ``return``, gives."""
    return get_type_hints(function)


def volume_kinds() -> dict[str, Any]:
    """The fields of a volume that travel as JSON, with their types: not the pixels, nor the series, which is known."""
    return {name: kind for name, kind in kinds_of(Volume).items() if name not in ("array", "series")}


def _describe(error: Exception) -> dict[str, Any]:
    if type(error) is DecoderError:
        return {"error": "DecoderError", "text": str(error)}
    if isinstance(error, OSError):
        return {"error": "OSError", "text": error.strerror or type(error).__name__}
    text = str(error) if isinstance(error, SeriatimError) else f"The file cannot be read ({type(error).__name__})."
    return {"error": "InputError", "text": text}


@contextmanager
def _memory_limit(arguments: list[Any], *, most: int) -> Iterator[None]:
    """Let this process grow by as much as the call may need and no more; a decoder that wants more fails."""
    if sys.platform != "linux":  # elsewhere the size of a process says nothing about its memory
        yield
        return
    unlimited = resource.getrlimit(resource.RLIMIT_AS)
    used = _size_bytes()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes((), most=most), unlimited[1]))
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + memory_bytes(arguments, most=most), unlimited[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, unlimited)


def _size_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
