"""From a run that fails to the smallest part of its plan that still does."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from trioquorum.testing.plan import Plan

T = TypeVar("T")

RUNS_MAX: Final = 200


class Shrunk(msgspec.Struct, frozen=True):
    """Which strikes (by number in the whole plan) and workloads are left, and how many runs it took."""

    strikes: tuple[int, ...]
    workloads: tuple[str, ...]
    runs: int


def shrink(plan: Plan, fails: Callable[[Plan], bool], *, runs_max: int = RUNS_MAX) -> Shrunk:
    """Drop strikes and workloads from ``plan``, which fails, for as long as ``fails`` says that it still does.

    First halves, then quarters and so on, then single ones; at most ``runs_max`` runs.
    """
    runs = 0

    def still(strikes: Sequence[int], workloads: Sequence[str]) -> bool:
        nonlocal runs
        if runs >= runs_max:
            return False
        runs += 1
        return fails(plan.keeping(strikes, workloads))

    workloads = list(plan.workloads)
    strikes = _smallest(range(len(plan.strikes)), lambda kept: still(kept, workloads))
    workloads = _smallest(workloads, lambda kept: still(strikes, kept))
    return Shrunk(tuple(strikes), tuple(workloads), runs)


def _smallest(items: Sequence[T], fails: Callable[[list[T]], bool]) -> list[T]:
    kept = list(items)
    size = max(len(kept) // 2, 1)
    while kept:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if fails(fewer):
                kept = fewer
            else:
                at += size
        if size == 1:
            break
        size = max(size // 2, 1)
    return kept
