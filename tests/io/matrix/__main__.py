"""``python -m tests.io.matrix [--scale N] [--kind TEXT]``: run the matrix and print a table by kind."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from .run import Result, every_kind, run_kind


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=1, help="random series per form of a kind")
    parser.add_argument("--kind", default="", help="only kinds whose name holds this text")
    parser.add_argument("--forms", type=int, default=None, help="forms per kind at most")
    options = parser.parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in every_kind():
            if options.kind in kind.name:
                results += run_kind(kind, Path(folder), scale=options.scale, forms=options.forms)
    _print(results)
    return int(any(not result.good for result in results))


def _print(results: list[Result]) -> None:
    words = ("right", "refused", "missed", "wrong", "crash", "hang")
    for result in results:
        if not result.good:
            print(f"{result.verdict.word:8}{result.name} [{result.detail}]\n        {result.verdict.detail}")
    for clean in (True, False):
        rows = [result for result in results if result.kind.clean is clean]
        print(f"\n{'clean' if clean else 'faulty':64}" + "".join(f"{word:>8}" for word in words))
        for name in dict.fromkeys(result.name for result in rows):
            count = Counter(result.verdict.word for result in rows if result.name == name)
            print(f"{name[:63]:64}" + "".join(f"{count[word] or '':>8}" for word in words))
        count = Counter(result.verdict.word for result in rows)
        print(f"{f'all {len(rows)}':64}" + "".join(f"{count[word]:>8}" for word in words))


if __name__ == "__main__":
    sys.exit(main())
