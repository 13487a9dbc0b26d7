"""All rules together, fed by an ensemble."""

from collections.abc import Mapping
from typing import Final

from trioquorum.events import Committed, Established, Event, SyncReceived
from trioquorum.invariants import InvariantViolation, invariant
from trioquorum.storage.database import Database
from trioquorum.testing.network import CLIENT_PORT, ELECTION_PORT, OBSERVER_MASTER_PORT, QUORUM_PORT
from trioquorum.testing.safety.answers import Replies
from trioquorum.testing.safety.epochs import EpochsOnDisk
from trioquorum.testing.safety.history import History
from trioquorum.testing.safety.links import Links
from trioquorum.testing.safety.memberships import Memberships
from trioquorum.testing.safety.order import Order
from trioquorum.testing.safety.roles import Roles
from trioquorum.testing.safety.sessions import Sessions
from trioquorum.testing.safety.sight import Sight, Watched
from trioquorum.testing.safety.terms import Terms

USUAL_PORTS: Final = (CLIENT_PORT, ELECTION_PORT)


class Safety:
    """The rules of one ensemble, over all restarts of its ``peers``; without them only histories and trees are checked.

    A broken rule raises ``InvariantViolation`` in the peer that broke it, and the first one stays in ``broken``: a peer
    that is cancelled while it comes apart loses it.
    """

    def __init__(self, peers: Mapping[int, Watched] | None = None) -> None:
        self.broken: InvariantViolation | None = None
        self._peers = peers
        self._past = History(self._delivered)
        self._roles = Roles()
        sight = self._sight = Sight(peers or {})
        self._terms = Terms(sight, self._roles)
        self._epochs = EpochsOnDisk(sight)
        self._memberships = Memberships(sight, self._terms, self._roles)
        self._links = Links(self._roles, Order(sight, self._terms, self._memberships, self._past.history))
        self._sessions = Sessions()
        self._replies: dict[int, Replies] = {}
        self._answered = 0

    @property
    def history(self) -> list[int]:
        """zxid of every committed transaction, in order."""
        return self._past.history

    @property
    def committed_ends(self) -> set[int]:
        """Zxids up to which all is committed, told of or not."""
        return self._past.ends

    def proposed_unseen(self, zxid: int) -> None:
        """A leader proposed ``zxid``, the next one of its epoch, when nobody looked: a test wrote it into logs."""
        self._terms.proposed[zxid >> 32] = zxid

    @property
    def leaders(self) -> dict[int, int]:
        """Who led which epoch."""
        return self._past.leaders

    def check(self, peer: int, db: Database | None, event: Event) -> None:
        """Look at an event of ``peer``, and at what it applied if the event tells of that; no ``db`` while it loads.

        Raises:
            InvariantViolation: a rule is broken.
        """
        try:
            self._check(peer, db, event)
        except InvariantViolation as violation:
            self.broken = self.broken or violation
            raise

    def last_steps(self, peer: int, event: Event) -> None:
        """Look at an event of ``peer`` while it is being stopped: a membership that it decides there counts.

        Raises:
            InvariantViolation: a rule is broken.
        """
        if self._peers is not None:
            try:
                self._memberships.event(peer, event)
            except InvariantViolation as violation:
                self.broken = self.broken or violation
                raise

    def _check(self, peer: int, db: Database | None, event: Event) -> None:
        if self._peers is not None:
            self._roles.event(peer, db, event)
            self._epochs.event(peer, event)
            self._terms.event(peer, event)
            self._memberships.event(peer, event)
            self._sessions.expired(peer, event, self._roles)
            if isinstance(event, Committed | Established):
                self._links.applied(peer, event.zxid)
            elif isinstance(event, SyncReceived) and db is not None:
                self._links.took_over(peer, db.last_zxid)
            if isinstance(event, Established) and event.role == "leader":
                logged = self._sight.logged(peer)
                invariant(
                    logged >= self._answered,
                    "what was answered outlives every leader",
                    leader=peer,
                    epoch=event.epoch,
                    answered=self._answered,
                    logged=logged,
                )
        self._past.event(peer, db, event)
        if db is not None and isinstance(event, Committed | Established):
            # What an unestablished leader sent is beyond all that is known to be committed: not to be compared.
            reached = 0 if self._past.lacks(peer) else self._past.reached(peer)
            self._sessions.look(peer, db.tree, event, reached)

    def frame(
        self, dialler: int | None, listener: int, port: int, link: int, frame: bytes, *, dialler_sends: bool
    ) -> None:
        """A frame leaves on a link to a port of peer ``listener``; ``dialler`` is ``None`` if that is no peer.

        Raises:
            InvariantViolation: it must not leave now.
        """
        try:
            self._frame(dialler, listener, port, link, frame, dialler_sends=dialler_sends)
        except InvariantViolation as violation:
            self.broken = self.broken or violation
            raise

    def _frame(
        self, dialler: int | None, listener: int, port: int, link: int, frame: bytes, *, dialler_sends: bool
    ) -> None:
        fed = port == OBSERVER_MASTER_PORT
        if port == QUORUM_PORT or fed or (port not in USUAL_PORTS and self._is_quorum_link(listener, port, link)):
            if dialler is not None and not self._sight.strangers & {dialler, listener}:
                self._links.frame(link, dialler, listener, frame, learner_sends=dialler_sends, fed=fed)
        elif port == CLIENT_PORT:
            replies = self._replies.get(link)
            if replies is None:
                replies = self._replies[link] = Replies()
            if dialler_sends:
                replies.asked(frame)
            else:
                self.answered(replies.told(frame))

    def _is_quorum_link(self, listener: int, port: int, link: int) -> bool:
        """Whether learners come there; a link stands while its listener moves elsewhere."""
        return self._links.knows(link) or self._sight.is_quorum_port(listener, port)

    def answered(self, zxid: int) -> None:
        """A client was told of transaction ``zxid``: from now on nobody may lead without it."""
        self._answered = max(self._answered, zxid)

    def by_hand(self, peer: int) -> None:
        """From now on ``peer`` is no server but played by a test: what others base on its word is not judged."""
        self._sight.strangers.add(peer)

    def wiped(self, peer: int) -> None:
        """``peer``, which is down, has lost its disk and will begin with an empty one."""
        self._past.wiped(peer)
        self._epochs.wiped(peer)
        self._terms.wiped(peer)
        self._memberships.wiped(peer)

    def _delivered(self, zxid: int, payload: bytes) -> None:
        self._sessions.committed(zxid, payload)
        if self._peers is not None and not self._sight.strangers:
            self._terms.check_delivered(zxid)
