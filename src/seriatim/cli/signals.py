"""Ctrl-C and SIGTERM: the first asks for an end in good order, the second ends at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from seriatim.cli.exits import Exit

FIRST = b"\nseriatim: finishing the series in hand, then the tables of what is done. Once more stops at once.\n"
SECOND = b"\nseriatim: stopped at once; what is done is kept. The same command goes on from here.\n"
CODES = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


class Signals:
    """While it is entered: the first signal is remembered, the second leaves the program.

    ``told_elsewhere``: live lines on the terminal tell of the first, between which nothing may be written; what leaves
    the program is then told when they are gone.
    """

    def __init__(self) -> None:
        self.code: Exit | None = None
        self.told_elsewhere = False
        self._twice = False
        self._before: dict[signal.Signals, Any] = {}

    def asked(self) -> bool:
        """Whether there was a signal; ``code`` is then the exit code that says so."""
        return self.code is not None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # a shell's background job ignores Ctrl-C
            heard = [number for number in CODES if signal.getsignal(number) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._twice and self.told_elsewhere:
            os.write(2, SECOND)

    def _note(self, number: int, _: FrameType | None) -> None:
        code = CODES[signal.Signals(number)]
        if self.code is not None:
            self._twice = True
            self._write(SECOND)
            raise SystemExit(code)
        self.code = code
        self._write(FIRST)

    def _write(self, text: bytes) -> None:
        if not self.told_elsewhere:
            os.write(2, text)  # a print could wait for a lock that the interrupted code holds
