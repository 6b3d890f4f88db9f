"""One child process: reads mutations from its input, reads the damaged files, writes a verdict each."""

from __future__ import annotations

import functools
import json
import os
import resource
import sys
import tempfile
import traceback
from pathlib import Path

from tools.fuzz.cases import make_case
from tools.fuzz.mutation import Files, Mutation, apply, loads
from tools.fuzz.oracle import Outcome, Verdict, judge, read_outcome
from tools.fuzz.touched import touched

MEMORY = 1 << 30
"""Address space that one reading may take beyond what the process holds after reading the whole files, bytes."""


def main() -> None:
    """Serve until the input ends. The first argument is the file descriptor for verdicts."""
    with os.fdopen(int(sys.argv[1]), "w") as answers:
        for line in sys.stdin:
            verdict = check(loads(line))
            answers.write(json.dumps({"name": verdict.name, "detail": verdict.detail}) + "\n")
            answers.flush()


def check(mutation: Mutation) -> Verdict:
    """Damage, read, judge. Whatever escapes the reader is a failure."""
    files = make_case(mutation.case).files
    truth = read_truth(mutation.case)
    damaged = apply(mutation, files)
    _limit_memory()
    try:
        outcome = _read(damaged)
    except MemoryError:
        return Verdict(name="FAIL", detail="memory: more than 1 GiB")
    except Exception as error:  # noqa: BLE001 - this is what the fuzzer looks for
        frames = traceback.extract_tb(error.__traceback__)
        place = next((frame for frame in reversed(frames) if "seriatim" in frame.filename), frames[-1])
        name = Path(place.filename).name
        return Verdict(name="FAIL", detail=f"crash: {type(error).__name__} in {name}:{place.name}: {str(error)[:120]}")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return judge(truth, outcome, mutation.case, touched(mutation, files))


@functools.cache
def read_truth(case: str) -> Outcome:
    """What the whole files hold."""
    outcome = _read(make_case(case).files)
    if not outcome.volumes:
        raise RuntimeError(f"The whole files of {case} are not read.")
    return outcome


def _read(files: Files) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return read_outcome(Path(folder))


def _limit_memory() -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
