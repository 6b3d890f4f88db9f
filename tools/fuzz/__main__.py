"""``make fuzz COUNT=2000 SEED=7``: damage files, read them, judge what comes out; exit 1 where a reading failed."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import tools.fuzz.more_cases  # noqa: F401 - it registers its cases
from tools.fuzz.cases import CASES, make_case
from tools.fuzz.engine import Engine
from tools.fuzz.mutation import Mutation, loads
from tools.fuzz.oracle import Verdict
from tools.fuzz.propose import propose

COLUMNS = ("right", "refused", "noted", "told elsewhere", "undetectable", "FAIL")


def main() -> int:
    """Run, replay or list."""
    arguments = _parse()
    engine = Engine(isolated=arguments.isolated)
    try:
        if arguments.replay:
            return _replay(engine, arguments.replay)
        return _run(engine, arguments)
    finally:
        engine.close()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="mutants")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; the same seed makes the same mutants")
    parser.add_argument("--case", action="append", choices=sorted(CASES), help="only this case; may be repeated")
    parser.add_argument("--replay", help="CASE:SEED, or a file with recipes, one per line")
    parser.add_argument("--isolated", action="store_true", help="read in the worker processes of the package")
    parser.add_argument("--failures", type=Path, help="write the recipes of failures to this file")
    return parser.parse_args()


def _run(engine: Engine, arguments: argparse.Namespace) -> int:
    names = sorted(arguments.case or CASES)
    table: Counter[tuple[str, str]] = Counter()
    failures: list[tuple[str, Mutation, Verdict]] = []
    for index in range(arguments.count):
        case, seed = names[index % len(names)], arguments.seed + index // len(names)
        mutation = propose(make_case(case), seed)
        verdict = engine.check(mutation)
        table[mutation.kind, verdict.name] += 1
        if verdict.name == "FAIL":
            failures.append((f"{case}:{seed}", shrink(engine, mutation, verdict), verdict))
            print(f"{case}:{seed}  {mutation.kind} {mutation.where}: {verdict.detail}", flush=True)
    print(_format(table))
    if arguments.failures:
        lines = [json.dumps({"id": name, "verdict": verdict.detail, "mutation": mutation.dumps()})
                 for name, mutation, verdict in failures]
        arguments.failures.write_text("\n".join([*lines, ""]))
    return 1 if failures else 0


def shrink(engine: Engine, mutation: Mutation, verdict: Verdict) -> Mutation:
    """The mutation with as few splices as still fail in the same way."""
    for splice in mutation.splices if len(mutation.splices) > 1 else ():
        smaller = replace(mutation, splices=tuple(one for one in mutation.splices if one is not splice))
        if smaller.splices and engine.check(smaller) == verdict:
            mutation = smaller
    return mutation


def _replay(engine: Engine, what: str) -> int:
    case, _, seed = what.rpartition(":")
    if case in CASES:
        mutations = [propose(make_case(case), int(seed))]
    else:
        mutations = [loads(json.loads(line)["mutation"]) for line in Path(what).read_text().splitlines() if line]
    verdicts = [engine.check(mutation) for mutation in mutations]
    for mutation, verdict in zip(mutations, verdicts, strict=True):
        print(f"{verdict.name} {verdict.detail}\n  {mutation.dumps()[:2000]}")
    return 1 if any(verdict.name == "FAIL" for verdict in verdicts) else 0


def _format(table: Counter[tuple[str, str]]) -> str:
    kinds = sorted({kind for kind, _ in table})
    rows = [["class", *COLUMNS]]
    rows += [[kind, *(str(table[kind, column]) for column in COLUMNS)] for kind in kinds]
    rows.append(["all", *(str(sum(table[kind, column] for kind in kinds)) for column in COLUMNS)])
    return "\n".join("  ".join(f"{cell:>14}" for cell in row) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
