"""Who belongs to the ensemble, and which sets of peers are a quorum (quorum-protocol §20)."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from trioquorum.errors import ConfigError

_TCP = "tcp://"
_TLS = "tls://"


class Member(msgspec.Struct, frozen=True):
    """One peer of a configuration. Addresses are URLs; ``weight`` counts only where members have a ``group``."""

    id: int
    quorum: str
    election: str
    client: str | None = None
    role: Literal["participant", "observer"] = "participant"
    weight: int = 1
    group: int | None = None
    secure_client: str | None = None


class QuorumConfig:
    """A membership and its quorums: majority, or hierarchical as soon as one voter has a group.

    ``version`` is the zxid of the transaction that made the configuration, 0 for the one from the file.

    Raises:
        ConfigError: an id is used twice, or only some of the voters have a group.
    """

    def __init__(self, members: Iterable[Member], version: int = 0) -> None:
        self.version = version
        self.members: dict[int, Member] = {}
        for member in sorted(members, key=lambda member: member.id):
            if member.id in self.members:
                raise ConfigError(f"peer {member.id} is listed twice; give each peer its own id")
            self.members[member.id] = member
        self.voters = frozenset(sid for sid, member in self.members.items() if member.role == "participant")
        self.observers = frozenset(self.members) - self.voters
        self._groups = {sid: group for sid in sorted(self.voters) if (group := self.members[sid].group) is not None}
        ungrouped = self.voters - self._groups.keys()
        if self._groups and ungrouped:
            raise ConfigError(f"peer {min(ungrouped)} has no group, others have; give every participant one or none")
        self.hierarchical = bool(self._groups)
        self._group_weights = self._weights_by_group(self._groups)

    def _weights_by_group(self, voters: Iterable[int]) -> dict[int, int]:
        """Weight of each group that has any among ``voters``, who all have a group."""
        weights: dict[int, int] = {}
        for sid in voters:
            group, weight = self._groups[sid], self.members[sid].weight
            if weight:
                weights[group] = weights.get(group, 0) + weight
        return weights

    def contains_quorum(self, sids: Iterable[int]) -> bool:
        """Whether ``sids`` can decide. Who is no voter here is ignored, so callers need not filter.

        Majority: more than half of the voters. Hierarchical: in more than half of the groups that weigh anything,
        more than half of the group's weight.
        """
        present = self.voters.intersection(sids)
        if not self.hierarchical:
            return len(present) > len(self.voters) // 2
        won = sum(weight > self._group_weights[group] // 2 for group, weight in self._weights_by_group(present).items())
        return won > len(self._group_weights) // 2

    @property
    def oracle_may_decide(self) -> bool:
        """Whether one voter may be a quorum when an oracle says so (§20.3): there are two, under majority."""
        return not self.hierarchical and len(self.voters) == 2

    def weight(self, sid: int) -> int:
        """What ``sid`` counts: 1 for everybody under majority. Who weighs 0 is never elected."""
        if not self.hierarchical:
            return 1
        return self.members[sid].weight if sid in self.voters else 0

    def text(self) -> str:
        """The configuration as ZooKeeper writes it into NEWLEADER, notifications and the config node.

        ``server.N=host:quorum:election:role[;[host:client][;host:secure client]]`` per member, group and weight
        lines, at last ``version=hex`` without a newline. Members that this form cannot express show their URLs,
        separated by ``|``.
        """
        lines = [_server_line(member) for member in self.members.values()]
        if self.hierarchical:
            groups: dict[int, list[int]] = {group: [] for group in sorted(self._groups.values())}
            for sid in sorted(self.voters):
                groups[self._groups[sid]].append(sid)
            lines += [f"group.{group}={':'.join(map(str, sids))}" for group, sids in sorted(groups.items())]
            lines += [f"weight.{sid}={self.members[sid].weight}" for sid in sorted(self.voters)]
        return "\n".join([*lines, f"version={self.version:x}"])

    def __eq__(self, other: object) -> bool:
        """Equal versions are equal configurations; different ones may still list the same (§20.4)."""
        if not isinstance(other, QuorumConfig):
            return NotImplemented
        return self.version == other.version or self.members == other.members

    # Equality looks at either of two things, so no hash can agree with it.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"QuorumConfig(voters={sorted(self.voters)}, observers={sorted(self.observers)}, {self.version:#x})"


def _server_line(member: Member) -> str:
    urls = (member.quorum, member.election, *([member.client] if member.client else []))
    host, _, election_port = member.election.rpartition(":")
    if not all(url.startswith(_TCP) for url in urls) or member.quorum.rpartition(":")[0] != host:
        line = f"server.{member.id}={member.quorum}|{member.election}:{member.role}"
        return line + _client_parts(member.client or "", member.secure_client or "")
    line = f"server.{member.id}={member.quorum.removeprefix(_TCP)}:{election_port}:{member.role}"
    client, secure = (member.client or "").removeprefix(_TCP), (member.secure_client or "").removeprefix(_TLS)
    return line + _client_parts(client, secure)


def _client_parts(client: str, secure: str) -> str:
    return f";{client};{secure}" if secure else f";{client}" if client else ""
