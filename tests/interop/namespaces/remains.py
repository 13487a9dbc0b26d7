"""What is left of an ensemble when it is down: what its peers said, the history they committed, the trees they hold."""

from bisect import bisect_right
from contextlib import ExitStack
from typing import Any

from tests.interop.namespaces.peers import Peers
from trioquorum.events import Events
from trioquorum.invariants import invariant
from trioquorum.limits import Limits
from trioquorum.storage.database import Database
from trioquorum.storage.disk import RealDisk
from trioquorum.testing.checkers import trees
from trioquorum.testing.truth import Truth, read_logs

ALARMS = ("Traceback", "a safety rule broke", '"digest_mismatch"')


class Terms:
    """Who led which epoch, and where the history ended on which each leader began, as the peers' logs tell.

    ``zxid in terms`` says whether a transaction that is in some log was committed: the next leader had it.

    Raises:
        InvariantViolation: an epoch had two leaders.
    """

    def __init__(self, peers: Peers) -> None:
        self.leaders: dict[int, int] = {}
        ends: dict[int, int] = {}
        followed: list[tuple[int, int, int]] = []
        for i in peers.ids:
            own_zxid = 0
            for event in peers.events(i, "round_started", "established"):
                if event["event"] == "round_started":
                    own_zxid = int(event["zxid"], 16)
                elif event["role"] == "leader":
                    epoch = event["epoch"]
                    invariant(epoch not in ends, "each term has an epoch of its own", epoch=epoch, leader=i)
                    self.leaders[epoch], ends[epoch] = i, own_zxid
                else:
                    followed.append((i, event["epoch"], event["leader"]))
        for i, epoch, leader in followed:
            led = self.leaders.get(epoch)
            invariant(led == leader, "one leads, all follow", epoch=epoch, peer=i, followed=leader, led=led)
        self._epochs = sorted(ends)
        self._ends = [ends[epoch] for epoch in self._epochs]

    def __contains__(self, zxid: object) -> bool:
        assert isinstance(zxid, int)
        later = bisect_right(self._epochs, zxid >> 32)
        return later == len(self._epochs) or zxid <= self._ends[later]


async def examine(peers: Peers, terms: Terms) -> Truth:
    """The history, which made the one tree that all peers hold on disk. They are down, and were idle before.

    Raises:
        InvariantViolation: peers differ, or the history does not make the tree.
    """
    with ExitStack() as stack:
        disks = {i: stack.enter_context(RealDisk(folder)) for i, folder in peers.data_folders.items()}
        held = {}
        for i, disk in disks.items():
            database = await Database.load(disk, disk, Limits(), Events(), slow_flush_ms=0)
            held[f"peer_{i}"] = database.tree
        trees.check_equal(held)
        complete = [disk for i, disk in disks.items() if i != peers.small]
        truth = Truth(await read_logs(*complete, committed=terms), held["peer_1"])
    trees.check_made(truth)
    return truth


def alarms(peers: Peers) -> list[str]:
    """Lines of the peers' logs that should not be there."""
    found = []
    for i in peers.ids:
        with peers.log(i).open(errors="replace") as lines:
            found += [f"peer {i}: {line.strip()}" for line in lines if any(alarm in line for alarm in ALARMS)]
    return found


def counted(peers: Peers, *names: str, by: str) -> dict[Any, int]:
    """How often peers told events of these kinds, by the value of a field."""
    counts: dict[Any, int] = {}
    for i in peers.ids:
        for event in peers.events(i, *names):
            counts[event[by]] = counts.get(event[by], 0) + 1
    return counts
