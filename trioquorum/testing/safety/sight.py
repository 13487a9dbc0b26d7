"""What the rules see of the peers beside their events and frames: disks, and the configurations in force."""

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from trioquorum.storage.epochs import ACCEPTED, CURRENT
from trioquorum.zab.quorum import QuorumConfig

COUNTER_MASK: Final = 0xFFFFFFFF


class Durable(Protocol):
    """A disk that says what a machine would find on it that starts now. All calls must be cheap."""

    def logged_zxid(self) -> int:
        """The last transaction in its log or snapshots, 0 without one."""

    def epoch(self, name: str) -> int | None:
        """What an epoch file says, ``None`` without it."""

    def membership(self) -> int:
        """The newest version that a membership file holds, 0 without one."""


class Watched(Protocol):
    """A peer. ``configs`` are the committed configuration and, while one is proposed, that one behind it."""

    @property
    def disk(self) -> Durable:
        """As it is now, also while the peer is down."""

    @property
    def configs(self) -> Sequence[QuorumConfig]:
        """As the peer knows them."""

    @property
    def may_lead_alone(self) -> bool:
        """Whether an oracle let it lead without the other one of two voters, since it was started."""


class Sight:
    """Looks at all peers of an ensemble. ``strangers`` are played by a test: they may claim whatever they like."""

    def __init__(self, peers: Mapping[int, Watched]) -> None:
        self._peers = peers
        self.strangers: set[int] = set()

    def logged(self, peer: int) -> int:
        """The last transaction that is durable at ``peer``."""
        return self._peers[peer].disk.logged_zxid()

    def holds(self, peer: int, zxid: int) -> bool:
        """Whether everything up to ``zxid`` is durable at ``peer``; the start of an epoch is in no log."""
        return zxid & COUNTER_MASK == 0 or self._peers[peer].disk.logged_zxid() >= zxid

    def accepted(self, peer: int) -> int:
        """acceptedEpoch on the disk of ``peer``, −1 without one."""
        return _or_none_yet(self._peers[peer].disk.epoch(ACCEPTED))

    def current(self, peer: int) -> int:
        """currentEpoch on the disk of ``peer``, −1 without one."""
        return _or_none_yet(self._peers[peer].disk.epoch(CURRENT))

    def membership(self, peer: int) -> int:
        """The newest membership, proposed or committed, on the disk of ``peer``: its version, 0 without one."""
        return self._peers[peer].disk.membership()

    def configs(self, peer: int) -> Sequence[QuorumConfig]:
        """The committed configuration of ``peer`` and, while one is proposed, that one behind it."""
        return self._peers[peer].configs

    def is_quorum(self, leader: int, peers: set[int], configs: Sequence[QuorumConfig]) -> bool:
        """Whether ``peers`` decide in every one of ``configs``, by the word of the oracle of ``leader`` if need be."""
        watched = self._peers[leader]
        peers = peers | self.strangers
        alone = watched.may_lead_alone and leader in peers and all(config.oracle_may_decide for config in configs)
        return alone or all(config.contains_quorum(peers) for config in configs)

    def may_lead_alone(self, peer: int) -> bool:
        """Whether ``peer`` has an oracle."""
        return self._peers[peer].may_lead_alone

    def is_quorum_port(self, peer: int, port: int) -> bool:
        """Whether ``peer`` listens there for learners, by a configuration that it knows."""
        members = [config.members.get(peer) for config in self._peers[peer].configs]
        return any(member is not None and member.quorum.endswith(f":{port}") for member in members)

    def holders(self, zxid: int) -> set[int]:
        """Everybody on whose disk ``zxid`` is."""
        return {peer for peer, watched in self._peers.items() if watched.disk.logged_zxid() >= zxid}


def _or_none_yet(epoch: int | None) -> int:
    return -1 if epoch is None else epoch
