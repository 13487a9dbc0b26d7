"""The service of a leader, and of a standalone peer, which is a leader that needs nobody's acknowledgement.

One wake-up's writes are prepared one by one against tree and pending changes, then leave together: one PROPOSAL frame
for all learners, one append to the log. Proposals leave before the leader's own flush, and the leader does not wait
for its own disk when a quorum of others has acknowledged.
"""

from collections.abc import Callable, Collection, Iterator
from typing import Final

from trioquorum.errors import Code, RequestFailed
from trioquorum.events import Committed, Events, Proposed, SessionExpired
from trioquorum.pipeline.client import Client
from trioquorum.pipeline.quota_reports import QuotaReports
from trioquorum.pipeline.sending import Outbox, send_packets
from trioquorum.pipeline.service import Service
from trioquorum.pipeline.stats import ServerStats
from trioquorum.pipeline.terms import Terms
from trioquorum.storage.database import Database
from trioquorum.tree.cleanup import candidates, is_expendable
from trioquorum.tree.digest_ahead import DigestAhead
from trioquorum.tree.prep import LOCAL_OWNER, Prep, PrepOptions, WriteRequest
from trioquorum.tree.sessions import SessionIds, SessionTracker
from trioquorum.wire.ops import REFUSED_WITHOUT_ROOM, Op
from trioquorum.wire.quorum import PacketType, QuorumPacket
from trioquorum.wire.records import PathRequest, ReconfigRequest
from trioquorum.wire.txn import ErrorTxn, SetDataTxn, Txn, TxnHeader, is_reconfig
from trioquorum.zab.leader import COUNTER_MASK, Leader, Proposal
from trioquorum.zab.quorum import QuorumConfig
from trioquorum.zab.reconfig import next_config, parse_config

_CREATE_SESSION: Final = int(Op.CREATE_SESSION)
_RECONFIG: Final = int(Op.RECONFIG)


class LeaderService(Service):
    """Prepares, proposes, commits and answers."""

    def __init__(
        self,
        db: Database,
        terms: Terms,
        ids: SessionIds,
        stats: ServerStats,
        events: Events,
        *,
        machine: Leader,
        first_zxid: int,
        standalone: bool,
    ) -> None:
        """``first_zxid`` is the last zxid before the first proposal: (epoch, 0), or the last one of a standalone."""
        super().__init__(db, terms, ids, stats, events)
        self.mode = "standalone" if standalone else "leader"
        self.followers: dict[int, Outbox] = {}
        self.observers: dict[int, Outbox] = {}
        self.last_proposed = first_zxid
        self.tracker = SessionTracker(terms.tick_time_ms)
        options = PrepOptions(
            extended_types=terms.extended_types,
            enforces_quotas=terms.enforces_quotas,
            acl_rules=terms.auth.acl_rules,
        )
        members = self if terms.reconfig_enabled else None
        self._prep = Prep(db.tree, self.tracker, options, members, QuotaReports(events, terms.clock))
        self._prepare = self._prep.prepare
        self._digests = DigestAhead(db.tree) if db.tree.keeps_digest else None
        self.machine = machine
        self.synced: Callable[[], Collection[int]] = lambda: (machine.my_id,)
        """The peers, this one included, that have all history and keep up."""
        self.on_reconfig: Callable[[], None] = _nobody
        """Told when a reconfiguration was proposed, and when one is decided."""
        self._batch: list[tuple[int, bytes, Txn]] = []
        self._batch_time_ms = 0
        self._heard = 0
        self._proposes: QuorumConfig | None = None

    @property
    def exhausted(self) -> bool:
        """Whether this epoch's counter is used up; only a new epoch has zxids again."""
        return self.last_proposed & COUNTER_MASK >= self.terms.limits.epoch_txns_max

    def _now_ms(self) -> int:
        return int(self.terms.clock() * 1000)

    def start(self) -> None:
        """Serving begins: nobody was heard of yet, so every session gets its full timeout (client-protocol §17.5)."""
        now_ms = self._now_ms()
        self.tracker.begin(now_ms)
        for session, timeout_ms in self.tree.sessions.items():
            self.tracker.add(session, timeout_ms, now_ms)

    # Writes

    def submit(self, request: WriteRequest) -> None:
        """Give a write its zxid and its place in the batch; failures are transactions too (client-protocol §8.1).

        When the epoch has no zxid left nothing more is taken: ``exhausted`` tells the role to end (ZOOKEEPER-1277).
        Nor is it when another peer is to lead: it could not be committed here.
        """
        if self.exhausted or not self.machine.allowed_to_commit:
            return
        self.last_proposed = zxid = self.last_proposed + 1
        if not self._batch:
            self._batch_time_ms = self.terms.wall_ms()
        if request.op == _CREATE_SESSION and len(request.body) >= 4:
            timeout_ms = int.from_bytes(request.body[:4], "big", signed=True)
            self.tracker.add(request.session, timeout_ms, self._now_ms())
            self.tracker.set_owner(request.session, request.owner)
        txn = self._prepare(request, zxid, self._batch_time_ms)
        if self._digests is not None:
            self._digests.stamp(txn, self._prep.unlisted)
        self._batch.append((zxid, txn.encode(), txn))
        if txn.header.type == _RECONFIG and isinstance(txn.record, SetDataTxn):
            # From here on every check and every acknowledgement goes by it, so it leaves at once.
            self._proposes = parse_config((txn.record.data or b"").decode())
            self.pass_on()

    def submit_forwarded(self, request: WriteRequest) -> None:
        """A learner's client writes, so its session lives; the answers to pings may be late, or lost."""
        if request.session != self._heard:
            self._heard = request.session  # A client's requests come together.
            self.heard_of(request.session)
        self.submit(request)

    def flush(self) -> None:
        self._heard = 0
        super().flush()

    def refuse_writes(self, refuses: bool) -> None:
        super().refuse_writes(refuses)
        self._prepare = self._refuse if refuses else self._prep.prepare

    def _refuse(self, request: WriteRequest, zxid: int, time_ms: int) -> Txn:
        """Learners are told to refuse as well; what they forwarded before has its place in the order, and fails."""
        if request.op not in REFUSED_WITHOUT_ROOM:
            return self._prep.prepare(request, zxid, time_ms)
        self.stats.writes_refused += 1
        return Txn(TxnHeader(request.session, request.cxid, zxid, time_ms, Op.ERROR), ErrorTxn(Code.SYSTEMERROR))

    def pass_on(self) -> None:
        """Propose the batch: to the machine, to every learner, to the log."""
        batch = self._batch
        if not batch:
            return
        self._batch = []
        config, self._proposes = self._proposes, None
        propose = self.machine.propose
        for zxid, payload, txn in batch:
            propose(zxid, payload, txn, config if config is not None and config.version == zxid else None)
        if self.followers:
            kind = PacketType.PROPOSAL
            packets = [QuorumPacket(kind, zxid, payload) for zxid, payload, _ in batch]
            send_packets(packets, self.followers.values())
        self.db.append([(zxid, payload) for zxid, payload, _ in batch])
        self.stats.proposed([len(payload) for _, payload, _ in batch])
        self.events.emit(Proposed(first_zxid=batch[0][0], last_zxid=batch[-1][0]))
        if config is not None:
            self.on_reconfig()

    # Reconfiguration (quorum-protocol §16, §19)

    def next_config(self, request: ReconfigRequest, zxid: int) -> bytes:
        """``MembershipView``: what a client's reconfiguration proposes."""
        if self.mode == "standalone":
            raise RequestFailed(Code.UNIMPLEMENTED)
        machine, voters_min = self.machine, self.terms.voters_min
        config = next_config(request, zxid, machine.config, machine.last_seen, self.synced(), voters_min=voters_min)
        return config.text().encode()

    def activate(self) -> None:
        """The decided configuration is noted on disk: commit it, tell everybody, go on."""
        self._commit(self.machine.activate())
        self.flush()

    # Acknowledgements and commits

    def logged(self, zxid: int) -> None:
        """The leader's own log holds everything up to ``zxid``."""
        self.ack(self.machine.my_id, zxid)
        self.flush()

    def ack(self, sid: int, zxid: int) -> None:
        """A peer's log holds everything up to ``zxid``; commit what a quorum now has."""
        machine = self.machine
        self._commit(machine.ack(sid, zxid))
        if machine.decided is not None:
            self.on_reconfig()

    @property
    def lacks_acks(self) -> bool:
        """Whether something is proposed and no follower is there to acknowledge it."""
        return bool(self.machine.outstanding) and not self.followers

    def commit_alone(self) -> None:
        """An oracle lets this leader lead without the other voter: its own log is the quorum (§20.3)."""
        self._commit(self.machine.commit_alone())
        self.flush()

    def _commit(self, committed: list[Proposal]) -> None:
        """Tell the learners, apply, answer."""
        if not committed:
            return
        self.now = self.terms.clock()
        self.stats.commits += len(committed)
        self._announce_with_syncs(committed)
        apply = self.apply
        for proposal in committed:
            txn = proposal.context
            assert isinstance(txn, Txn)
            apply(txn)
        # Requests that came up in between saw the same through the pending changes.
        self._prep.applied(committed[-1].zxid)
        self.events.emit(Committed(zxid=committed[-1].zxid))

    def _session_closed(self, session: int) -> None:
        super()._session_closed(session)
        self.tracker.remove(session)

    def _announce_with_syncs(self, committed: list[Proposal]) -> None:
        """Tell the learners, each sync right behind the commit it waited for: a later commit must not overtake it."""
        told = 0
        for zxid, learner in self.machine.released_syncs():
            upto = next((n for n in range(told, len(committed)) if committed[n].zxid > zxid), len(committed))
            self._announce(committed[told:upto])
            told = upto
            self.answer_sync(learner)
        self._announce(committed[told:] if told else committed)

    def _announce(self, committed: list[Proposal]) -> None:
        """COMMIT to followers (cumulative), INFORM with the whole transactions to observers."""
        if committed and is_reconfig(committed[0].payload):
            self._announce_activation(committed[0])
            committed = committed[1:]
        if not committed:
            return
        if self.followers:
            send_packets([QuorumPacket(PacketType.COMMIT, committed[-1].zxid)], self.followers.values())
        if self.observers:
            packets = [QuorumPacket(PacketType.INFORM, p.zxid, p.payload) for p in committed]
            send_packets(packets, self.observers.values())

    def _announce_activation(self, proposal: Proposal) -> None:
        """A reconfiguration is committed by a packet of its own, which names the leader to be; it is always first."""
        designated = self.machine.designated.to_bytes(8, signed=True)
        if self.followers:
            send_packets(
                [QuorumPacket(PacketType.COMMITANDACTIVATE, proposal.zxid, designated)], self.followers.values()
            )
        if self.observers:
            data = designated + proposal.payload
            send_packets([QuorumPacket(PacketType.INFORMANDACTIVATE, proposal.zxid, data)], self.observers.values())

    # Learners

    def forward_to(self, sid: int, outbox: Outbox, *, participant: bool, last_seen_zxid: int) -> None:
        """Register a learner in one step with queueing what it has not seen (quorum-protocol §10)."""
        outstanding = self.machine.start_forwarding(sid, last_seen_zxid, participant=participant)
        send_packets([QuorumPacket(PacketType.PROPOSAL, p.zxid, p.payload) for p in outstanding], [outbox])
        (self.followers if participant else self.observers)[sid] = outbox

    def forget(self, sid: int) -> None:
        """A learner left."""
        self.followers.pop(sid, None)
        self.observers.pop(sid, None)
        self.machine.forget_learner(sid)

    def learner_sync(self, sid: int) -> None:
        """A learner's client asked for a sync: answered now, or behind the last proposal (§18)."""
        self.pass_on()
        if self.machine.sync(sid):
            self.answer_sync(sid)

    def answer_sync(self, sid: int) -> None:
        """Tell a learner that its oldest sync is done."""
        for outbox in (self.followers.get(sid), self.observers.get(sid)):
            if outbox is not None:
                send_packets([QuorumPacket(PacketType.SYNC, 0)], [outbox])

    def revalidate(self, session: int, timeout_ms: int, owner: object) -> bool:
        """Whether a session that a client brings to ``owner`` lives; then that peer owns it, and no connection here."""
        if not self.tracker.touch(session, self._now_ms(), timeout_ms):
            return False
        self.tracker.set_owner(session, owner)
        if owner != self.terms.server_id:
            self.supersede(session)
        return True

    # Sessions

    def validate(self, client: Client) -> None:
        own = self.local is not None and self.local.renew(client)
        valid = own or self.revalidate(client.session, client.timeout_ms, self.terms.server_id)
        self.settle(client, valid=valid, fence=self.last_proposed)

    def touch(self, sessions: dict[int, int]) -> None:
        now_ms = self._now_ms()
        for session, timeout_ms in sessions.items():
            self.tracker.touch(session, now_ms, timeout_ms)

    def heard_of(self, session: int) -> None:
        """A learner forwards something of this session."""
        self.tracker.touch(session, self._now_ms())

    def expire(self) -> None:
        """Close every session that was not heard of in time (client-protocol §17.3); called once a tick."""
        if self.local is not None:
            self.local.expire()
        for session in self.tracker.look(self._now_ms()):
            self.events.emit(SessionExpired(session=session, timeout_ms=self.tree.sessions.get(session, 0)))
            self.submit(WriteRequest(session, 0, Op.CLOSE_SESSION, b"", [], LOCAL_OWNER))
        self.flush()

    # Clean-up

    def expendables(self) -> Iterator[str]:
        """Paths of the containers and TTL nodes there are now; TTL nodes stay where there should be none (§14)."""
        return candidates(self.tree, ttl=self.terms.extended_types)

    def is_expendable(self, path: str) -> bool:
        """Whether ``path`` is a container or TTL node that may go now."""
        return is_expendable(self.tree, path, self.terms.wall_ms(), self.terms.unused_container_ms)

    def sweep(self, path: str) -> None:
        """Delete such a node, unless something of it waits to be committed, or there is no room to write that down."""
        if self.refuses_writes:
            return
        self.submit(WriteRequest(0, 0, Op.DELETE_CONTAINER, PathRequest(path).encode(), [], LOCAL_OWNER))
        self.flush()

    def session_deadlines(self) -> dict[int, list[int]]:
        return self.tracker.deadlines()

    def monitor(self) -> dict[str, object]:
        """Leader's lines of ``mntr``."""
        if self.mode == "standalone":
            return {}
        return {
            "learners": len(self.followers) + len(self.observers),
            "synced_followers": len(self.followers),
            "synced_non_voting_followers": len(self.followers.keys() - self.machine.config.voters),
            "synced_observers": len(self.observers),
            "pending_syncs": self.machine.pending_syncs,
            "last_proposal_size": self.stats.proposal_bytes_last,
            "max_proposal_size": self.stats.proposal_bytes_max,
            "min_proposal_size": self.stats.proposal_bytes_min,
        }


def _nobody() -> None:
    """Nobody waits for reconfigurations."""
