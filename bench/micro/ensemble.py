"""What a write costs all three peers, from the bytes of requests to those of replies, without sockets, tasks, disks."""

from collections import deque
from collections.abc import Iterable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

from bench import wire as client
from bench.micro.codec import PATH, VALUE
from bench.micro.pipeline import Desk
from bench.micro.timing import BATCH, Micro
from trioquorum.pipeline.forwarded import Forwarded
from trioquorum.pipeline.leader import LeaderService
from trioquorum.pipeline.learner import LearnerService
from trioquorum.wire.ops import Op
from trioquorum.wire.quorum import (
    PacketType,
    QuorumPacket,
    decode_packets,
    encode_frames,
    encode_packets,
)
from trioquorum.zab import learner_effects as effects
from trioquorum.zab.leader import Leader
from trioquorum.zab.learner import Learner
from trioquorum.zab.quorum import Member, QuorumConfig

EPOCH: Final = 1
FRAME_BYTES: Final = 4 << 20


class Frames(deque[bytes]):
    """An outbox whose frames are taken by hand."""

    put = deque.append


class LeaderDesk(Desk):
    """The leader of three."""

    def make_service(self) -> LeaderService:
        members = [Member(sid, "memory://nowhere", "memory://nowhere") for sid in (1, 2, 3)]
        self.machine = Leader(1, QuorumConfig(members), epoch=EPOCH)
        self.db.begin_epoch(EPOCH << 32)
        return LeaderService(*self.parts, machine=self.machine, first_zxid=EPOCH << 32, standalone=False)


class FollowerDesk(Desk):
    """A follower: its machine, its service, and what the tasks around them do."""

    forwarded: Forwarded

    def __init__(self, sid: int) -> None:
        self.sid = sid
        self.to_leader = Frames()
        self.to_me = Frames()
        super().__init__(sid)

    def make_service(self) -> LearnerService:
        self.machine = Learner(
            self.sid, observer=False, accepted_epoch=0, current_epoch=0, last_zxid=0, config_version=0
        )
        kinds = (PacketType.LEADERINFO, PacketType.DIFF, PacketType.NEWLEADER, PacketType.UPTODATE)
        for kind in kinds:
            zxid = 0 if kind == PacketType.DIFF else EPOCH << 32
            self.machine.receive_batch([QuorumPacket(kind, zxid, b"\0\1\0\0" if kind == kinds[0] else None)])
        self.db.settled()
        return LearnerService(*self.parts, master=1, observer=False, send=self._send)

    def _send(self, packets: list[QuorumPacket]) -> None:
        for frame in encode_frames(packets, FRAME_BYTES):
            self.to_leader.put(frame)

    def follow(self) -> None:
        """Do what the leader's frames ask for, flush the log, acknowledge."""
        service = self.service
        assert isinstance(service, LearnerService)
        while self.to_me:
            for effect in self.machine.receive_batch(decode_packets(self.to_me.popleft())):
                match effect:
                    case effects.Log(records):
                        self.db.append(records)
                    case effects.Commit(records):
                        service.commit(records)
                    case _:
                        raise RuntimeError(f"{effect} was not expected")
        service.flush()
        if self.log.last_flushed < self.log.last_appended:
            self.log.last_flushed = self.log.last_appended
            packet = self.machine.acknowledge(self.log.last_flushed)
            if packet is not None:
                self.to_leader.put(encode_packets([packet]))


class Ensemble:
    """A leader and two followers, each with one client. All log records are made outside of the disk's thread."""

    def __init__(self) -> None:
        self.leader = LeaderDesk(1)
        self.followers = [FollowerDesk(sid) for sid in (2, 3)]
        self._names = count()
        service = self.leader.service
        assert isinstance(service, LeaderService)
        self._leading = service
        service.start()
        for follower in self.followers:
            service.forward_to(follower.sid, follower.to_me, participant=True, last_seen_zxid=EPOCH << 32)
            acked = partial(self._acked, follower.sid)
            follower.forwarded = Forwarded(object(), service.submit_forwarded, _unasked, acked)
        self.desks = [self.leader, *self.followers]
        for session, desk in enumerate(self.desks):
            desk.feed(client.connect_frame(client.Session(), 30_000 + session))
            self.settle()
        for path in ("/bench", "/bench/load", PATH):
            self.leader.feed(client.request(1, Op.CREATE, client.create_body(path, VALUE)))
            self.settle()

    def turn(self, data: bytes) -> None:
        """Every client sends ``data``; all are answered."""
        for desk in self.desks:
            desk.feed(data)
        self.settle()

    def settle(self) -> None:
        """Let everybody work until nothing is left to do."""
        service, log, machine = self._leading, self.leader.log, self.leader.machine
        busy = True
        while busy:
            busy = False
            service.flush()
            for follower in self.followers:
                busy = busy or bool(follower.to_me)
                follower.follow()
                while follower.to_leader:
                    busy = True
                    follower.forwarded.take(decode_packets(follower.to_leader.popleft()))
            if log.last_flushed < log.last_appended:
                busy = True
                log.last_flushed = log.last_appended
                service.logged(log.last_flushed)
            for desk in self.desks:
                busy = desk.go_on() or busy
        if machine.outstanding:
            raise RuntimeError("something was not committed")
        for desk in self.desks:
            desk.collect()

    def _acked(self, sid: int, packet: QuorumPacket) -> None:
        self._leading.ack(sid, packet.zxid)

    def create(self) -> None:
        """A batch of creates of new znodes by every client."""
        for desk in self.desks:
            bodies = [client.create_body(f"/bench/load/c{next(self._names)}", VALUE) for _ in range(BATCH)]
            desk.feed(b"".join(client.request(xid, Op.CREATE, body) for xid, body in enumerate(bodies, 1)))
        self.settle()


def _unasked(session: int, cxid: int, body: bytes) -> None:
    raise RuntimeError(f"nobody asks for syncs, but {session} did: {cxid}, {body!r}")


def micros(folder: Path) -> Iterable[Micro]:
    """Three clients with batches of 64 requests each, 100 B values."""
    del folder
    put = client.set_body(PATH, VALUE)
    sets = b"".join([client.request(xid, Op.SET_DATA, put) for xid in range(1, BATCH + 1)])
    ensemble = Ensemble()
    operations = BATCH * len(ensemble.desks)
    yield Micro("setData", partial(ensemble.turn, sets), operations)
    yield Micro("create, its request's encoding included", ensemble.create, operations)
