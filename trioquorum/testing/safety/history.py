"""The one history that quorums committed, and who led which epoch."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable

from trioquorum.events import Committed, DigestMismatch, Established, Event, PeerStarted, SyncReceived
from trioquorum.invariants import invariant
from trioquorum.storage.database import Database
from trioquorum.testing.safety.sight import COUNTER_MASK
from trioquorum.zab.learner import follows


class History:
    """What peers deliver, over all of their restarts.

    ``history`` holds the zxid of every committed transaction, in order: what a peer applied that was established,
    because the history of an established leader is that of a quorum. ``leaders`` is who led which epoch, ``ends`` is
    where the histories ended that they began with: up to there all is committed, also what nobody told of because
    every peer that is left has it by a snapshot.
    ``delivered`` is called with every transaction that nobody had applied before.
    """

    def __init__(self, delivered: Callable[[int, bytes], None]) -> None:
        self.history: list[int] = []
        self.leaders: dict[int, int] = {}
        self.ends: set[int] = set()
        self._delivered = delivered
        self._newest = -1
        self._payloads: dict[int, int] = {}
        self._digests: dict[int, int] = {}
        self._reached: dict[int, int] = {}
        self._followed: set[tuple[int, int]] = set()  # (follower, epoch)
        self._behind_gaps: set[int] = set()  # nobody told yet what is right in front of these
        self._untold: set[int] = set()  # where snapshots ended that were sent before anybody told of it

    def reached(self, peer: int) -> int:
        """The last committed transaction that ``peer`` has delivered, 0 without one."""
        at = bisect_right(self.history, self._reached.get(peer, 0))
        return self.history[at - 1] if at else 0

    def wiped(self, peer: int) -> None:
        """``peer`` begins anew, with nothing."""
        self._reached.pop(peer, None)

    def event(self, peer: int, db: Database | None, event: Event) -> None:
        """Look at what ``peer`` applied if ``event`` tells of that."""
        match event:
            case Established(role="leader", epoch=epoch) if db is not None:
                self._new_leader(peer, db, epoch)
            case Established(role="standalone") if db is not None:
                self._compare(peer, db)
            case Established(epoch=epoch, leader=leader, master=master) if db is not None:
                found = self.leaders.get(epoch)
                if master in (-1, leader):
                    holds = found == leader
                    self._followed.add((peer, epoch))
                else:
                    # An observer that a follower feeds may have heard of the next leader before that follower has.
                    holds = found is not None and (master, epoch) in self._followed
                facts = {"epoch": epoch, "peer": peer, "followed": leader, "led": found, "fed_by": master}
                invariant(holds, "one leads, all follow", **facts)
                self._compare(peer, db)
            case Committed() if db is not None:
                self._compare(peer, db)
            case SyncReceived(mode=mode, zxid=zxid):
                reached = self._reached.get(peer, 0)
                invariant(zxid >= reached, "a sync takes nothing back", peer=peer, mode=mode, to=zxid, had=reached)
                if mode == "SNAP" and zxid & COUNTER_MASK:
                    self._reached[peer] = zxid
                    if zxid not in self._payloads:
                        self._untold.add(zxid)
                elif mode == "SNAP":
                    # An epoch without a transaction: its start is part of no history, and another leader lacks it.
                    at = bisect_right(self.history, zxid)
                    self._reached[peer] = self.history[at - 1] if at else 0
            case PeerStarted(last_zxid=zxid):
                # A learner may apply what a quorum holds before its own log does, and lose it in a crash.
                self._reached[peer] = min(zxid, self._reached.get(peer, 0))
            case DigestMismatch(zxid=zxid):
                invariant(False, "trees are what their digests say", peer=peer, zxid=zxid)

    def _new_leader(self, peer: int, db: Database, epoch: int) -> None:
        newest = max(self.leaders, default=-1)
        invariant(epoch > newest, "each term has an epoch of its own", epoch=epoch, newest=newest, leader=peer)
        self._compare(peer, db)
        self.leaders[epoch] = peer
        self.ends.add(self._reached.get(peer, 0))
        self._newest = epoch
        if self.history and not self.lacks(peer):
            # The digest of a tree whose history lacks anything, or has more, is another one.
            expected = self._digests.get(self.history[-1])
            invariant(
                expected in (None, db.tree.digest), "a leader begins with all that is committed", epoch=epoch, peer=peer
            )

    def _compare(self, peer: int, db: Database) -> None:
        """What ``peer`` applied since the last look must be the history, or its continuation."""
        reached = self._reached.get(peer, 0)
        new: list[tuple[int, bytes]] = []
        previous = None  # unknown if more was applied at once than the committed log holds
        for zxid, payload in reversed(db.committed_log.records()):
            if zxid <= reached:
                previous = zxid
                break
            new.append((zxid, payload))
        for zxid, payload in reversed(new):
            self._place(peer, zxid, payload, previous)
            previous = reached = zxid
        if not db.committed_log.records():
            # It has a snapshot and nothing behind it: one that damage left alone, or that came from a leader whose
            # synchronisation was never finished, so that nobody told of it.
            if db.tree.last_zxid not in self._payloads:
                return
            reached = db.tree.last_zxid
        self._reached[peer] = reached
        at = bisect_right(self.history, reached)
        if at and not self.lacks(peer):
            zxid, digest = self.history[at - 1], db.tree.digest
            expected = self._digests.setdefault(zxid, digest)
            invariant(expected == digest, "equal histories make equal trees", peer=peer, zxid=zxid)

    def lacks(self, peer: int) -> bool:
        """Whether ``peer`` took over something at the end of its history that nobody told of: then digests say nothing.

        The leader who sent it may have ended before it was established.
        """
        reached = self._reached.get(peer, 0)
        at = bisect_right(self.history, reached)
        last = self.history[at - 1] if at else 0
        return any(last < zxid <= reached for zxid in self._untold)

    def _place(self, peer: int, zxid: int, payload: bytes, previous: int | None) -> None:
        history = self.history
        at = bisect_left(history, zxid)
        if at == len(history) or (history[at] > zxid and history[at] in self._behind_gaps):
            invariant(
                at < len(history) or zxid >> 32 >= self._newest or any(zxid <= end for end in self._untold),
                "a leader has delivered all of earlier epochs",
                peer=peer,
                zxid=zxid,
                epoch=self._newest,
            )
            history.insert(at, zxid)
            self._payloads[zxid] = hash(payload)
            self._behind_gaps.add(zxid)
            self._untold.discard(zxid)
            self._delivered(zxid, payload)
        same = history[at] == zxid and self._payloads[zxid] == hash(payload)
        invariant(same, "all commit the same", peer=peer, zxid=zxid, committed=history[at])
        if previous is not None:
            invariant(follows(zxid, previous), "delivered in the order of zxids", peer=peer, zxid=zxid, after=previous)
            before = history[at - 1] if at else None
            invariant(before == previous, "nobody skips a commit", peer=peer, zxid=zxid, had=previous, lacks=before)
            self._behind_gaps.discard(zxid)
