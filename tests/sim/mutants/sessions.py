"""Bugs of sessions and their ephemerals."""

from typing import Final

import pytest

from tests.sim.mutants.mutant import DIGESTS, mutant, patch_apply
from trioquorum.pipeline.leader import LeaderService
from trioquorum.tree import apply
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.sessions import SessionTracker
from trioquorum.wire.txn import CloseSessionTxn, TxnHeader

EPHEMERALS: Final = ("ephemerals",)
LIVES: Final = "a session lives as long as was granted"


@mutant(
    "client-protocol §17.3",
    "a session ends once",
    workloads=EPHEMERALS,
    safety_s=20.0,
    seeds=6,
    flush_s=0.3,
    settings={"tick_time_ms": 200},
)
def expired_again_at_every_tick(patch: pytest.MonkeyPatch) -> None:
    def expired(self: SessionTracker, now_ms: int) -> list[int]:
        return sorted(session for due, sessions in self._buckets.items() if due <= now_ms for session in sessions)

    patch.setattr(SessionTracker, "expired", expired)
    patch.setattr(SessionTracker, "set_closing", lambda self, session: None)


@mutant("client-protocol §17.4", LIVES, "a client that was heard", workloads=EPHEMERALS, safety_s=20.0, seeds=6)
def touches_of_learners_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaderService, "touch", lambda self, sessions: None)


@mutant(
    "client-protocol §17.5",
    "only sessions that ended",
    "a session that fell silent ends",
    LIVES,
    workloads=EPHEMERALS,
    kinds=("crash", "stop"),
    seeds=8,
)
def new_leader_knows_no_sessions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaderService, "start", lambda self: None)


@mutant(
    "client-protocol §17.6",
    "a session ends once",
    "a goodbye ends the session",
    "nobody is served after the end",
    "only sessions that live write",
    workloads=EPHEMERALS,
    safety_s=30.0,
    seeds=8,
)
def session_that_ended_is_welcome(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaderService, "revalidate", lambda *_: True)


@mutant("quorum-protocol §26, ours (f)", "ephemerals", "the tree has the nodes", DIGESTS, workloads=EPHEMERALS, seeds=6)
def ephemeral_outlives_its_session(patch: pytest.MonkeyPatch) -> None:
    def close(tree: DataTree, header: TxnHeader, kind: int, record: CloseSessionTxn) -> apply.Applied:
        tree.sessions.pop(header.session, None)
        for path in (record.paths or ())[1:]:
            tree.delete(path, header.zxid)
        return apply.Applied(0, kind)

    patch_apply(patch, CloseSessionTxn, close)


@mutant("client-protocol §17.3", "a session that fell silent ends", workloads=EPHEMERALS, safety_s=20.0, seeds=3)
def sessions_never_expire(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SessionTracker, "expired", lambda self, now_ms: [])
