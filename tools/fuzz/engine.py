"""Children that are watched: one that dies or hangs costs one mutant."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools.fuzz.mutation import Mutation
from tools.fuzz.oracle import Verdict

ROOT = Path(__file__).resolve().parents[2]
MAX_CPU_S, MAX_WALL_S, STARTUP_S = 5.0, 30.0, 60.0
"""Processor time counts, since a busy machine makes wall time long; a child that sleeps is caught by the clock."""


@dataclass(slots=True)
class Child:
    """A worker process and the pipe that its verdicts come through."""

    process: subprocess.Popen[str]
    answers: int

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        parts = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


class Engine:
    """Checks mutations one after the other in a child that is started again when it dies."""

    def __init__(self, *, isolated: bool = False) -> None:
        """``isolated``: read through the worker processes of the package, as its commands do."""
        self._way = "isolated" if isolated else "here"
        self._child: Child | None = None
        self._known: set[str] = set()

    def check(self, mutation: Mutation) -> Verdict:
        """The verdict on one mutation; a child that dies, or works for too long, is a failure."""
        child = self._child or self._start()
        extra = 0.0 if mutation.case in self._known else STARTUP_S  # the first reads the whole files too
        self._known.add(mutation.case)
        before, start = child.cpu_seconds(), time.monotonic()
        try:
            print(mutation.dumps(), file=child.process.stdin, flush=True)
            while not select.select([child.answers], [], [], 0.1)[0]:
                if child.cpu_seconds() - before > MAX_CPU_S + extra or time.monotonic() - start > MAX_WALL_S + extra:
                    self.close()
                    return Verdict(name="FAIL", detail=f"hang: over {MAX_CPU_S:g} s")
            answer = _read_line(child.answers)
        except (BrokenPipeError, FileNotFoundError):
            answer = ""
        if not answer:
            code = child.process.wait()
            self.close()
            return Verdict(name="FAIL", detail=f"the process died with code {code}")
        return Verdict(**json.loads(answer))

    def close(self) -> None:
        """Stop the child."""
        if self._child:
            self._child.process.kill()
            self._child.process.wait()
            os.close(self._child.answers)
        self._child = None
        self._known.clear()

    def _start(self) -> Child:
        answers, theirs = os.pipe()
        quiet = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        process = subprocess.Popen(
            [sys.executable, "-m", "tools.fuzz.child", str(theirs), self._way], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=[theirs], env={**os.environ, **quiet},
            cwd=ROOT, text=True,
        )
        os.close(theirs)
        self._child = Child(process=process, answers=answers)
        return self._child


def _read_line(descriptor: int) -> str:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(descriptor, 65536)
        if not part:
            return ""
        line += part
    return line.decode()
