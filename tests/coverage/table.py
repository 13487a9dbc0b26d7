"""``python -m tests.coverage.table FILE``: branches taken, by module, from what ``coverage json`` wrote.

Each branch that nothing took is shown by its line, where it would have gone, and the reason that ``untaken.toml`` has
for it. A reason is found by the text of the line, so it moves with the code; one that is needed no more is named.
"""

import sys
import tomllib
from pathlib import Path

import msgspec

WANTED_PERCENT = 97.0
REASONS = Path(__file__).with_name("untaken.toml")
ROOT = Path(__file__).parents[2]


class Totals(msgspec.Struct):
    """Of one module."""

    num_branches: int
    covered_branches: int
    num_statements: int
    covered_lines: int


class Module(msgspec.Struct):
    """``missing_branches`` are pairs of line numbers; the second is negative where a function is left."""

    summary: Totals
    missing_branches: list[tuple[int, int]]


class Measured(msgspec.Struct):
    files: dict[str, Module]


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """Why a ``line`` of a ``module`` is always left the same way here."""

    module: str
    line: str
    why: str


class Reasons(msgspec.Struct, forbid_unknown_fields=True):
    untaken: list[Reason] = []


def percent(taken: int, of: int) -> float:
    return 100.0 * taken / of if of else 100.0


def listed() -> list[Reason]:
    """Every reason that is given."""
    return msgspec.convert(tomllib.loads(REASONS.read_text()), Reasons).untaken


def main(path: str) -> int:
    """Print the table; 1 if too few branches were taken."""
    measured = msgspec.json.decode(Path(path).read_bytes(), type=Measured)
    reasons = {(reason.module, reason.line): reason.why for reason in listed()}
    used: set[tuple[str, str]] = set()
    taken = of = lines = statements = 0
    print(f"{'module':<40} {'branches':>9} {'taken':>7} {'lines':>7}")
    for name, module in sorted(measured.files.items()):
        sums = module.summary
        taken, of = taken + sums.covered_branches, of + sums.num_branches
        lines, statements = lines + sums.covered_lines, statements + sums.num_statements
        by_branches = percent(sums.covered_branches, sums.num_branches)
        by_lines = percent(sums.covered_lines, sums.num_statements)
        print(f"{name:<40} {sums.num_branches:>9} {by_branches:6.1f}% {by_lines:6.1f}%")
        text = (ROOT / name).read_text().splitlines()
        for line, target in module.missing_branches:
            key = (name, text[line - 1].strip())
            used.add(key)
            way = "leaves" if target < 0 else f"to {target}"
            print(f"    {line} {way}: {key[1]}\n        {reasons.get(key, 'no reason is given')}")
    for module_name, line_text in sorted(reasons.keys() - used):
        print(f"no longer needed, taken now or gone: {module_name}: {line_text}")
    print(f"{'all':<40} {of:>9} {percent(taken, of):6.1f}% {percent(lines, statements):6.1f}%")
    if percent(taken, of) < WANTED_PERCENT:
        print(f"fewer than {WANTED_PERCENT:g} % of the branches were taken", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
