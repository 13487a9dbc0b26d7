"""Whom an observer asks to feed it (quorum-protocol §13)."""

import random
from collections import deque
from collections.abc import Iterator

import msgspec

from trioquorum.config import ServerConfig
from trioquorum.transport import Address
from trioquorum.zab.quorum import QuorumConfig


class Masters:
    """Observer masters in an order of this peer's own, so that observers spread over them. Outlives roles.

    The leader is none of them: it feeds observers at its quorum port, and they are here to spare it. The membership
    does not name their ports. Where all that the operator listed have the same one, as ``observerMasterPort`` is
    everybody's, members that joined later are taken to have it too; who moved is looked for on its present host.
    """

    def __init__(self, config: ServerConfig, rng: random.Random) -> None:
        self._written = {spec.id: spec for spec in config.peers if spec.observer_master is not None}
        voters = [spec.id for spec in config.peers if spec.role != "observer"]
        ports = {spec.observer_master.port for spec in self._written.values() if spec.observer_master is not None}
        self._port = ports.pop() if len(ports) == 1 and all(sid in self._written for sid in voters) else None
        order = list(self._written)
        if order:
            rng.shuffle(order)
        self._order = deque(order)

    def any_of(self, members: QuorumConfig, leader: int) -> bool:
        """Whether there is a master among the voters."""
        return any(sid != leader and self._address(members, sid) is not None for sid in sorted(members.voters))

    def one_pass(self, members: QuorumConfig, leader: int) -> Iterator[tuple[int, Address]]:
        """Each master among the voters once, beginning behind the one that was taken last."""
        self._order.extend(sid for sid in sorted(members.voters) if sid not in self._order)
        for _ in range(len(self._order)):
            sid = self._order[0]
            self._order.rotate(-1)
            address = self._address(members, sid) if sid in members.voters and sid != leader else None
            if address is not None:
                yield sid, address

    def _address(self, members: QuorumConfig, sid: int) -> Address | None:
        quorum = Address.parse(members.members[sid].quorum)
        spec = self._written.get(sid)
        if spec is None or spec.observer_master is None:
            return None if self._port is None else Address(quorum.scheme, quorum.host, self._port)
        if quorum.host == spec.quorum.host:
            return spec.observer_master
        return msgspec.structs.replace(spec.observer_master, host=quorum.host)
