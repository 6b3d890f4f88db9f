"""One child process: reads mutations from its input, reads the damaged files, writes a verdict each."""

from __future__ import annotations

import functools
import json
import os
import resource
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

from tools.fuzz.both_ways import DisagreeError
from tools.fuzz.cases import make_case
from tools.fuzz.mutation import Files, Mutation, apply, loads
from tools.fuzz.oracle import IN_SILENCE, Outcome, Verdict, judge, read_outcome
from tools.fuzz.touched import touched

from seriatim.io.isolation.limits import Limits

MEMORY = 1 << 30
"""Address space that one reading may take beyond what the process holds after reading the whole files, bytes."""


HARMLESS = ("right", "undetectable")
ISOLATED = Limits(seconds=4.0, memory_gb=1.0)
"""What a worker of the package may take, where the reading is isolated."""


def main() -> None:
    """Serve until the input ends. The first argument is the file descriptor for verdicts, the second how to read."""
    limits = ISOLATED if sys.argv[2] == "isolated" else None
    with os.fdopen(int(sys.argv[1]), "w") as answers:
        for line in sys.stdin:
            verdict = check(loads(line), limits)
            answers.write(json.dumps({"name": verdict.name, "detail": verdict.detail}) + "\n")
            answers.flush()


def check(mutation: Mutation, limits: Limits | None = None) -> Verdict:
    """The verdict on a mutation. Splices that are right or undetectable alone do not make the others a failure."""
    verdict = _check(mutation, limits)
    if verdict.name != "FAIL" or not verdict.detail.startswith(IN_SILENCE) or len(mutation.splices) < 2:
        return verdict
    alone = [_check(replace(mutation, splices=(splice,)), limits) for splice in mutation.splices]
    rest = tuple(splice for splice, one in zip(mutation.splices, alone, strict=True) if one.name not in HARMLESS)
    if len(rest) == len(alone) or (rest and _check(replace(mutation, splices=rest), limits).name not in HARMLESS):
        return verdict
    details = {one.detail for one in alone if one.name in HARMLESS and one.detail}
    return Verdict(name="undetectable", detail="; ".join(sorted(details)))


def _check(mutation: Mutation, limits: Limits | None) -> Verdict:
    """Damage, read, judge. Whatever escapes the reader is a failure."""
    files = make_case(mutation.case).files
    truth = read_truth(mutation.case)
    damaged = apply(mutation, files)
    if limits is None:
        _limit_memory()
    try:
        outcome = _read(damaged, limits)
    except MemoryError:
        return Verdict(name="FAIL", detail="memory: more than 1 GiB")
    except DisagreeError as error:
        return Verdict(name="FAIL", detail=f"the quick way differs: {error}")
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
    if not outcome.volumes and not case.startswith("refused"):
        raise RuntimeError(f"The whole files of {case} are not read.")
    return outcome


def _read(files: Files, limits: Limits | None = None) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return read_outcome(Path(folder), limits)


def _limit_memory() -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
