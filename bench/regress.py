"""Two commits side by side, in worktrees of their own: which figures moved by more than the noise."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.machine import REPOSITORY
from bench.report import number, spread, table
from bench.results import FIGURES, Results, moved, ratios
from bench.servers import Trioquorum, trioquorum_of


@contextmanager
def checkouts(commits: list[str], folder: Path, repository: Path = REPOSITORY) -> Iterator[dict[str, type[Trioquorum]]]:
    """Each commit checked out below ``folder``, its byte code compiled; gone again at the end.

    Raises:
        CalledProcessError: git knows no such commit.
    """
    made: dict[str, type[Trioquorum]] = {}
    paths: list[Path] = []
    try:
        for letter, commit in zip("AB", commits, strict=True):
            short = _git(repository, "rev-parse", "--short=10", f"{commit}^{{commit}}").strip()
            path = folder / f"checkout-{letter}"
            _git(repository, "worktree", "add", "--quiet", "--detach", str(path), short)
            paths.append(path)
            compile_all = [sys.executable, "-m", "compileall", "-q", "trioquorum", "transports"]
            subprocess.run(compile_all, cwd=path, check=True)
            made[f"{letter} {short}"] = trioquorum_of(f"{letter} {short}", path)
        yield made
    finally:
        for path in paths:
            _git(repository, "worktree", "remove", "--force", str(path))


def _git(repository: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def summary(results: Results) -> str:
    """B ÷ A of what moved, and how much did not."""
    a, b = results.contestants()
    rows, still = [], 0
    for workload in results.workloads():
        for figure in results.figures(workload):
            by_round = ratios(results, workload, figure, b, a)
            better = FIGURES[figure].better
            if not better or not by_round:
                continue
            if not moved(by_round):
                still += 1
                continue
            middle = sorted(by_round)[len(by_round) // 2]
            medians = [results.median(workload, name, figure) or 0.0 for name in (a, b)]
            verdict = "better" if (middle > 1) == (better > 0) else "worse"
            rows.append(
                [workload, FIGURES[figure].label, *map(number, medians), f"{middle:.3f}", spread(by_round), verdict]
            )
    head = ["workload", "figure", a, b, "B ÷ A", "by round", ""]
    told = table(head, rows) if rows else "Nothing moved by more than the noise."
    return f"{told}\n\n{still} figures did not move by more than the noise."
