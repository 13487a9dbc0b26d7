"""What a peer knows of its ensemble, and everybody who must hear when that changes (quorum-protocol §5.1, §19).

A changed membership is noted on disk first; then the election links, the election itself, the config node and the
client port follow, and the role learns whether it ends.
"""

from typing import TYPE_CHECKING

import trio

from trioquorum.config import ServerConfig
from trioquorum.errors import ConfigError
from trioquorum.events import Events, MembershipChanged, MembershipKept, MembershipProposed
from trioquorum.storage.membership import Membership
from trioquorum.transport import Address
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import CONFIG
from trioquorum.zab.quorum import QuorumConfig
from trioquorum.zab.reconfig import outcome, parse_config

if TYPE_CHECKING:
    from trioquorum.peer.electing import Elections
    from trioquorum.peer.links import ElectionMesh
    from trioquorum.server.clients import ClientPorts


class Members:
    """The membership of one peer, for its whole life. With reconfiguration disabled what is committed never changes."""

    def __init__(self, config: ServerConfig, stored: Membership, events: Events) -> None:
        self._my_id = config.my_id
        self._enabled = config.reconfig_enabled
        self._written = config
        self._stored = stored
        self._events = events
        self._audience: tuple[ElectionMesh, Elections, ClientPorts] | None = None
        self._heard: QuorumConfig | None = None
        self._next_leader: int | None = None
        if stored.committed != config.quorum_config():
            events.emit(MembershipKept(version=stored.committed.version))

    @property
    def committed(self) -> QuorumConfig:
        """The configuration in force."""
        return self._stored.committed

    @property
    def last_seen(self) -> QuorumConfig:
        """A proposed one that is newer, or the committed one."""
        return self._stored.last_seen

    @property
    def pending(self) -> bool:
        """Whether a proposed configuration is neither committed nor void yet."""
        return self.last_seen.version > self.committed.version

    # Addresses

    def election_addresses(self) -> dict[int, Address]:
        """Every member of both configurations; where they differ, the committed one counts."""
        members = self.last_seen.members | self.committed.members
        return {sid: Address.parse(member.election) for sid, member in members.items() if sid != self._my_id}

    def my_election_address(self) -> Address:
        """Where this peer listens for votes; one that is not a member goes by what its operator wrote."""
        member = self.committed.members.get(self._my_id) or self.last_seen.members.get(self._my_id)
        if member is not None:
            return Address.parse(member.election)
        return next(spec.election for spec in self._written.peers if spec.id == self._my_id)

    def my_client_addresses(self) -> tuple[Address, ...]:
        """Where this peer serves clients: as the ensemble decided, or as its operator wrote."""
        member = self.committed.members.get(self._my_id)
        written = self._written.quorum_config().members.get(self._my_id)
        decided = (None, None) if member is None else (member.client, member.secure_client)
        mine = (None, None) if written is None else (written.client, written.secure_client)
        found: list[Address] = []
        for by_all, by_me, secure in zip(decided, mine, (False, True), strict=True):
            if by_all is None or by_all == by_me:
                found += [each for each in self._written.client_addresses if (each.scheme == "tls") == secure]
            else:
                found.append(Address.parse(by_all))
        return tuple(found)

    def quorum_address(self, sid: int) -> Address | None:
        """Where ``sid`` listens for learners when it leads, if it is a member."""
        member = self.committed.members.get(sid) or self.last_seen.members.get(sid)
        return None if member is None else Address.parse(member.quorum)

    # Who must hear of changes

    def attach(self, mesh: "ElectionMesh", elections: "Elections", ports: "ClientPorts") -> None:
        """Keep these up to date from now on."""
        self._audience = mesh, elections, ports
        elections.on_newer_config = self._hear
        self._spread()

    def _spread(self) -> None:
        assert self._audience is not None
        mesh, elections, ports = self._audience
        mesh.set_members(self.election_addresses())
        mesh.set_my_address(self.my_election_address())
        elections.set_configs(self.committed, self.last_seen)
        ports.set_addresses(self.my_client_addresses())

    def show(self, tree: DataTree) -> None:
        """Write the committed configuration into the config node, unless a transaction or somebody before us has.

        After the end of a role the node may hold what was only proposed; that stays, it is decided before anybody
        is served.
        """
        texts = [self.committed.text().encode()]
        if self.pending:
            texts.append(self.last_seen.text().encode())
        if tree.nodes[CONFIG].data not in texts:
            tree.set_config(texts[0], self.committed.version, 0)

    # Changes

    async def propose(self, config: QuorumConfig) -> None:
        """A configuration was proposed; durable on return.

        Raises:
            DiskFailed: that could not be noted.
        """
        known = self.last_seen.version
        with trio.CancelScope(shield=True):  # What is noted, everybody must hear of.
            await self._stored.propose(config)
        self._proposed(known)

    async def take(self, config: QuorumConfig) -> None:
        """An established leader sees ``config`` last; durable on return.

        Raises:
            DiskFailed: that could not be noted.
        """
        known = self.last_seen.version
        with trio.CancelScope(shield=True):
            await self._stored.take(config)
        self._proposed(known)

    def _proposed(self, known: int) -> None:
        if self.last_seen.version != known:
            if self.pending:
                self._events.emit(_told(MembershipProposed, self.last_seen))
            self._spread()

    async def activate(self, config: QuorumConfig, leader: int, designated: int | None) -> bool:
        """``config`` is committed; whether that ends the role of this peer, which follows ``leader`` (§19.6).

        Durable on return, and then everybody has heard. Without effect where reconfiguration is disabled.

        Raises:
            DiskFailed: that could not be noted.
        """
        old = self.committed
        await trio.lowlevel.checkpoint()
        if not self._enabled:
            return False
        with trio.CancelScope(shield=True):
            newer = await self._stored.activate(config)
        if not newer:
            return False
        self._events.emit(_told(MembershipChanged, config))
        self._spread()
        means = outcome(self._my_id, leader, old, config, designated)
        self._next_leader = means.next_leader
        return means.ends_role

    def take_next_leader(self) -> int | None:
        """Whom the last reconfiguration designated, if the next role is to be taken without an election; once."""
        leader, self._next_leader = self._next_leader, None
        return leader

    # Between roles

    def _hear(self, text: str) -> None:
        """A peer's vote came with a newer configuration: look again, by that one (§5.1.2)."""
        if not self._enabled:
            return
        try:
            config = parse_config(text)
        except ConfigError:
            return
        if config.version > max(self.committed.version, self._heard.version if self._heard else -1):
            self._heard = config
            assert self._audience is not None
            self._audience[1].restart()

    async def adopt_heard(self) -> None:
        """Take over what was heard in the last round.

        Raises:
            DiskFailed: that could not be noted.
        """
        await trio.lowlevel.checkpoint()
        heard, self._heard = self._heard, None
        if heard is not None:
            await self.activate(heard, self._my_id, None)


def _told(
    kind: type[MembershipProposed] | type[MembershipChanged], config: QuorumConfig
) -> MembershipProposed | MembershipChanged:
    return kind(version=config.version, voters=tuple(sorted(config.voters)), observers=tuple(sorted(config.observers)))
