"""Bugs that a client sees: what is answered, when, and in which order."""

from typing import Any, Final

import pytest

from tests.sim.mutants.mutant import mutant
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.learner import LearnerService
from trioquorum.pipeline.service import Service
from trioquorum.tree import reads
from trioquorum.tree.watches import Mode, Watcher, WatchTable
from trioquorum.wire.client import REQUEST_HEADER, event_frame, reply
from trioquorum.wire.ops import Op

BEFORE: Final = "a change is told before it is seen"


@mutant(
    "design §4, quorum-protocol §26, ours (d)",
    BEFORE,
    "a lasting watch tells every change",
    workloads=("watching",),
    seeds=4,
)
def event_behind_the_reply(patch: pytest.MonkeyPatch) -> None:
    real = Client.send
    late: dict[Client, list[bytes]] = {}

    def notify(self: Client, event_type: int, path: str, zxid: int) -> None:
        late.setdefault(self, []).append(event_frame(event_type, path, zxid))

    def send(self: Client, frame: bytes) -> None:
        real(self, frame)
        for event in late.pop(self, ()):
            real(self, event)

    patch.setattr(Client, "notify", notify)
    patch.setattr(Client, "send", send)


@mutant(
    "client-protocol §11",
    BEFORE,
    "a lasting watch tells every change",
    workloads=("watching",),
    seeds=6,
    kinds=("partition", "cut"),
)
def missed_events_not_made_up_for(patch: pytest.MonkeyPatch) -> None:
    def only_set(tree: Any, asked: Any, watcher: Watcher) -> bytes:
        for path in (*(asked.data or ()), *(asked.exist or ())):
            tree.watches.add_data(path, watcher)
        for path in asked.child or ():
            tree.watches.add_child(path, watcher)
        return b""

    patch.setattr(reads, "set_watches", only_set)


@mutant("client-protocol §11", "only what was asked for is told, and once", workloads=("watching",), seeds=4)
def watch_tells_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(WatchTable, "_triggered_here", lambda self, path: tuple(self._at(path)))


@mutant("client-protocol §20.1", "servers keep to the protocol", seeds=4)
def read_overtakes_a_write_of_its_session(patch: pytest.MonkeyPatch) -> None:
    real = Service.request

    def request(self: Service, client: Client, payload: bytes) -> None:
        xid, op = REQUEST_HEADER.unpack_from(payload)
        if op in (Op.GET_DATA, Op.EXISTS):
            self._answer(client, op, xid, payload)
        else:
            real(self, client, payload)

    patch.setattr(Service, "request", request)


@mutant("quorum-protocol §18", "a sync", seeds=8, delay_s=0.2)
def sync_answered_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LearnerService, "submit_sync", Service.submit_sync)
    patch.setattr(LearnerService, "syncs_wait", False)


@mutant(
    "design §1", "a write that was answered is committed", "a session never goes back", "each write is a new change"
)
def reply_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    real = Service.request

    def request(self: Service, client: Client, payload: bytes) -> None:
        real(self, client, payload)
        if client.waiting and client.waiting[0][0] == Op.SET_DATA and len(client.waiting) == 1:
            _, xid, _, _ = client.waiting.popleft()
            self.inflight -= 1
            node = next(iter(self.tree.nodes.values()))
            client.send(reply(xid, self.tree.last_zxid + 1, 0, node.stat))

    patch.setattr(Service, "request", request)


@mutant("client-protocol §11", BEFORE, workloads=("watching",), seeds=2)
def watch_on_a_missing_node_not_set(patch: pytest.MonkeyPatch) -> None:
    real = WatchTable.add

    def add(self: WatchTable, path: str, watcher: Watcher, mode: int = Mode.STANDARD) -> None:
        if not path[-1].isdigit():
            real(self, path, watcher, mode)

    patch.setattr(WatchTable, "add", add)
