"""Bugs of what transactions do to the tree, and of the checks in front of them."""

from typing import Any, Final

import pytest

from tests.sim.mutants.mutant import DIGESTS, mutant, patch_apply
from trioquorum.pipeline.learner import LearnerService
from trioquorum.tree import apply, prep_ops
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import sequence_suffix
from trioquorum.tree.pending import Change, PendingChanges
from trioquorum.wire.txn import MultiTxn, SetDataTxn, Txn, TxnHeader

MADE: Final = (
    "a node is what its history made",
    "a read shows the tree",
    "money is not made",
    "the tree has the nodes",
    DIGESTS,
)


@mutant("client-protocol §7", *MADE, "versions count changes", workloads=("bank",))
def multi_applied_by_half(patch: pytest.MonkeyPatch) -> None:
    real = apply._BY_RECORD[MultiTxn]

    def half(tree: DataTree, header: TxnHeader, kind: int, record: MultiTxn) -> apply.Applied:
        parts = record.txns or []
        applied = real(tree, header, kind, MultiTxn(parts[:-1] if len(parts) > 1 else parts))
        while applied.parts and len(applied.parts) < len(parts):
            applied.parts.append(applied.parts[-1])
        return applied

    patch_apply(patch, MultiTxn, half)


@mutant(
    "trap 4, ZOOKEEPER-1624",
    "a write is refused for a reason",
    "compare-and-set",
    "is what",
    workloads=("bank",),
    seeds=4,
)
def changes_of_a_failed_multi_not_taken_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PendingChanges, "drop", lambda self: None)


@mutant("client-protocol §6", "sequence numbers rise", "refused for a reason", workloads=("lock",), seeds=4)
def sequence_number_counts_the_children(patch: pytest.MonkeyPatch) -> None:
    looked: list[Change] = []
    real = PendingChanges.get

    def get(self: PendingChanges, path: str) -> Change:
        looked[:] = [real(self, path)]
        return looked[0]

    patch.setattr(PendingChanges, "get", get)
    patch.setattr(prep_ops, "sequence_suffix", lambda _: sequence_suffix(looked[0].children))


@mutant("client-protocol §8.2", "compare-and-set compares", workloads=("register",))
def expected_version_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    real = prep_ops.next_version
    patch.setattr(prep_ops, "next_version", lambda current, expected: real(current, -1))


@mutant("quorum-protocol §26, ours (e)", "trees", "digests", "same", workloads=("register",))
def one_replica_writes_something_else(patch: pytest.MonkeyPatch) -> None:
    real = LearnerService.apply

    def apply_other(self: LearnerService, txn: Txn) -> None:
        record: Any = txn.record
        if isinstance(record, SetDataTxn) and record.version % 5 == 4:
            record.data = (record.data or b"") + b"!"
        real(self, txn)

    patch.setattr(LearnerService, "apply", apply_other)
