"""Run a parser or a decoder in a worker process: what crashes, hangs or eats memory there costs one series.

Each thread that reads has a worker of its own, which starts with the first call, serves all later ones, and is replaced
when it dies. It ends with its parent. Nothing here is paid before the first call.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn, TypeVar

from seriatim.io.dicom_pixels.decode_pool import default_threads
from seriatim.io.isolation.channel import Channel, ClosedError
from seriatim.io.isolation.limits import IsolatedError, Limits, StoppedError
from seriatim.io.isolation.memory import map_array
from seriatim.io.isolation.scratch import Scratch
from seriatim.io.isolation.wire import WireError, from_plain, to_plain
from seriatim.io.isolation.worker import ERRORS, kinds_of, volume_kinds
from seriatim.series.findings import Code
from seriatim.series.series import Series, Volume

_log = logging.getLogger(__name__)
Gives = TypeVar("Gives")

WORKER = ("-P", "-m", "seriatim.io.isolation.worker")
"""The arguments of the interpreter; ``-P`` keeps the folder you are in from standing in for a module."""
START_SECONDS = 60.0
GRACE_SECONDS = 5.0
GIB = 1 << 30
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""Each thread of a library takes address space, which is what the memory limit counts."""


class _DiedError(Exception):
    """The worker is gone, or what it said is no answer; the message says which."""


class Worker:
    """One worker process and the channel to it."""

    def __init__(self) -> None:
        """Start the process. Raises OSError where it cannot start."""
        ours, theirs = socket.socketpair()
        scratch = Scratch()  # what a worker that is killed leaves behind goes with it
        self.folder = scratch.folder
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, *WORKER, str(theirs.fileno()), str(os.getpid())], pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0,
                env=_environment() | {"TMPDIR": self.folder},
            )
        self._channel = Channel(ours)
        self.cpu_seconds = 0.0
        self.owner = os.getpid()
        self.stop = weakref.finalize(self, _stop, self._process, self._channel, self.owner, scratch)
        try:
            ready, _ = self._channel.receive(monotonic() + START_SECONDS)
        except (TimeoutError, ClosedError, WireError) as error:
            self.stop()
            raise OSError("the worker process did not start") from error
        if ready != {"ready": True}:
            self.stop()
            raise OSError("the worker process did not start")

    @property
    def alive(self) -> bool:
        return self.stop.alive and self._process.poll() is None

    def kill(self) -> None:
        """End the process, from any thread; the one that waits for its answer learns of its death."""
        self._process.kill()

    def call(
        self, name: str, arguments: list[Any], *, seconds: float, most_bytes: int, threads: int
    ) -> tuple[dict[str, Any], int | None]:
        """The answer to one call, and the descriptor of its pixels.

        Raises:
            TimeoutError: there is none in time; the worker was ended.
            _DiedError: there will be none; the worker is gone.
        """
        request = {"call": name, "arguments": arguments, "seconds": seconds + GRACE_SECONDS, "most_bytes": most_bytes,
                   "folder": _working_folder(), "threads": threads}
        try:
            self._channel.send(request)
            return self._channel.receive(monotonic() + seconds)
        except ClosedError as error:
            raise _DiedError(self._wait_for_death()) from error
        except WireError as error:
            raise _DiedError("it gave no answer that can be read") from error
        except BaseException:  # too late, or interrupted: a later answer must not be taken for that of another call
            self.stop()
            raise

    def _wait_for_death(self) -> str:
        try:
            code = self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed its channel"
        if code >= 0:
            return f"it ended with exit code {code}"
        return signal.Signals(-code).name if -code in signal.valid_signals() else f"signal {-code}"


def _working_folder() -> str:
    """Where relative paths start; "" where that folder is gone."""
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return ""


def _stop(process: subprocess.Popen[bytes], channel: Channel, owner: int, scratch: Scratch) -> None:
    channel.close()
    if os.getpid() == owner:  # a forked process holds a copy of what is not its own
        process.kill()
        process.wait()
        scratch.remove()
    else:
        scratch.close()


def _environment() -> dict[str, str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    limits = dict.fromkeys(ONE_THREAD, "1") | {"MALLOC_ARENA_MAX": "2"}
    return limits | os.environ | {"PYTHONPATH": path, "PYTHONUTF8": str(sys.flags.utf8_mode)}


class WorkerGroup:
    """The workers of several threads: with how many threads each decodes, what all cost, and their common end.

    A thread is of the group after ``join``; its worker starts with its first call, as ever.
    """

    def __init__(self, *, threads: int) -> None:
        self.threads, self.closed, self.cpu_seconds = threads, False, 0.0
        self._lock = threading.Lock()
        self._workers: weakref.WeakSet[Worker] = weakref.WeakSet()

    def join(self) -> None:
        """Count the worker of this thread to the group."""
        _workers.group = self

    def take_in(self, worker: Worker) -> None:
        """Count a worker that was just started to the group. Raises StoppedError where the group is closed."""
        with self._lock:
            self._workers.add(worker)
            closed = self.closed
        if closed:
            worker.stop()
            raise StoppedError

    def count(self, worker: Worker, total_seconds: float) -> None:
        """Note what the processors have done for a worker so far."""
        with self._lock:
            self.cpu_seconds += total_seconds - worker.cpu_seconds
            worker.cpu_seconds = total_seconds

    def close(self) -> None:
        """End all workers, whatever they do, and let none start again: reading raises StoppedError."""
        with self._lock:
            self.closed = True
            workers = list(self._workers)
        for worker in workers:
            worker.kill()


class _Workers(threading.local):
    """The worker of each thread, and the group it belongs to."""

    worker: Worker | None = None
    group: WorkerGroup | None = None


_workers = _Workers()
_unavailable: list[str] = []
"""Why this process cannot have workers, where it cannot."""


def run_isolated(function: Callable[..., Gives], limits: Limits, *arguments: Any) -> Gives:
    """``function(*arguments)`` in a worker process under ``limits``; here, with one warning, where there can be none.

    Raises:
        IsolatedError: the worker died, took too long, or wanted too much memory.
        SeriatimError, OSError: what the function raises.
    """
    if _unavailable:
        return function(*arguments)
    try:
        result: Gives = _run_in_worker(function, limits, arguments)
    except _NoWorkerError as error:
        _unavailable.append(str(error))
        _log.warning("Files are read in this process, without limits of time and memory: %s.", error)
        return function(*arguments)
    return result


class _NoWorkerError(Exception):
    """A worker cannot be started here."""


def _run_in_worker(function: Callable[..., Any], limits: Limits, arguments: tuple[Any, ...]) -> Any:
    """Raises as ``run_isolated``; a worker's death is told when a second one dies: the first may have been killed by
    somebody else, or harmed by an earlier series.
    """
    plain, seconds = [to_plain(argument) for argument in arguments], limits.seconds_for(arguments)
    group = _workers.group
    threads = default_threads() if group is None else group.threads
    deaths = 0
    while True:
        worker = _take_worker()
        try:
            reply, descriptor = worker.call(function.__name__, plain, seconds=seconds, most_bytes=limits.most_bytes,
                                            threads=threads)
            return _read_reply(worker, function, arguments, reply, descriptor)
        except _DiedError as error:
            worker.stop()
            deaths += 1
            if group is not None and group.closed:
                raise StoppedError from error
            if deaths > 1:
                _refuse_crash(str(error), error)
        except TimeoutError as error:
            message = f"Reading took longer than {seconds:.0f} s. Copy or export it again, or allow more seconds."
            raise IsolatedError(Code.TIMEOUT, message) from error
        except MemoryError as error:
            worker.stop()
            most = f"{limits.most_bytes / GIB:.1f} GiB"
            message = f"Reading needs more memory than its header promises, or than {most}. Export it again in parts."
            raise IsolatedError(Code.TOO_LARGE, message) from error


def _refuse_crash(what: str, error: Exception) -> NoReturn:
    if what == signal.Signals.SIGALRM.name:
        raise IsolatedError(Code.TIMEOUT, "Reading took longer than allowed. Copy or export it again.") from error
    hint = ", as the system does where memory is short" if what == signal.Signals.SIGKILL.name else ""
    message = f"The decoder died on it ({what}{hint}). Copy or export it again, uncompressed if you can."
    raise IsolatedError(Code.DECODER_CRASH, message) from error


def _take_worker() -> Worker:
    """The worker of this thread, a fresh one where it is dead or another process's (after a fork)."""
    if not sys.executable:
        raise _NoWorkerError("the Python interpreter is not known")
    worker = _workers.worker
    if worker is not None and (worker.owner != os.getpid() or not worker.alive):
        worker.stop()
        worker = None
    if worker is None:
        if _workers.group is not None and _workers.group.closed:
            raise StoppedError
        worker = _workers.worker = _start_worker()
        if _workers.group is not None:
            _workers.group.take_in(worker)
    return worker


def _start_worker() -> Worker:
    """A fresh worker: the first that does not start may have been killed by somebody else, as the system does where
    memory is short, and the whole batch must not lose its protection for that.
    """
    try:
        return Worker()
    except OSError as first:
        _log.info("a worker process did not start (%s): once more", type(first).__name__)
    try:
        return Worker()
    except OSError as error:
        raise _NoWorkerError(f"no worker process can be started ({error})") from error


def _read_reply(worker: Worker, function: Callable[..., Any], arguments: tuple[Any, ...], reply: dict[str, Any],
                descriptor: int | None) -> Any:
    """The result in a reply, checked; or the error in it, raised. Raises _DiedError where it is neither."""
    try:
        if _workers.group is not None:
            _workers.group.count(worker, from_plain(float, reply["cpu_seconds"]))
        if "error" in reply:
            raise ERRORS[reply["error"]](str(reply["text"]))
        gives = kinds_of(function)["return"]
        if gives is Volume:
            return _read_volume(arguments[0], reply, descriptor)
        return from_plain(gives, reply["result"])
    except (WireError, LookupError, TypeError) as error:
        raise _DiedError("it gave an answer of the wrong kind") from error
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _read_volume(series: Series, reply: dict[str, Any], descriptor: int | None) -> Volume:
    if descriptor is None:
        raise WireError("no pixels")
    shape = from_plain(tuple[int, ...], reply["shape"])
    array = map_array(descriptor, dtype=from_plain(str, reply["dtype"]), shape=shape)
    if shape[:3] != (len(series.instances), series.rows, series.columns):
        raise WireError(f"pixels of the shape {shape}")
    said = {name: from_plain(kind, reply["result"][name]) for name, kind in volume_kinds().items()}
    try:
        return Volume(array=array, series=series, **said)
    except ValueError as error:
        raise WireError("no volume") from error


def _forget() -> None:
    """After a fork: the parent's worker is not ours; close our copy of the channel."""
    if _workers.worker is not None:
        _workers.worker.stop()
        _workers.worker = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
