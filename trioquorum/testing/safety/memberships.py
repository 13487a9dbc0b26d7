"""Which configurations decide: each follows the one in force, by quorums of both, and nobody goes back (§19)."""

from bisect import bisect_right, insort
from collections.abc import Iterator

from trioquorum.events import Committed, Event, MembershipChanged, MembershipProposed, PeerStarted
from trioquorum.invariants import invariant
from trioquorum.testing.safety.roles import LEADS, Roles
from trioquorum.testing.safety.sight import COUNTER_MASK, Sight
from trioquorum.testing.safety.terms import Terms
from trioquorum.zab.quorum import QuorumConfig


class Memberships:
    """Every configuration of a run. Version 0 is what operators wrote, each for one peer; later ones are everybody's.

    A version takes effect once its proposal is held by quorums of the one before and of itself.
    """

    def __init__(self, sight: Sight, terms: Terms, roles: Roles) -> None:
        self._versions: list[int] = []
        self._sight = sight
        self._terms = terms
        self._roles = roles
        self._configs: dict[int, QuorumConfig] = {}
        self._before: dict[int, QuorumConfig] = {}  # version → the one that it took the place of
        self._known: dict[int, QuorumConfig] = {}  # peer → what was committed there last

    def event(self, peer: int, event: Event) -> None:
        """Look at what a peer takes for the membership whenever that may have changed."""
        if isinstance(event, Committed):
            self._check_leads(peer, event.zxid)
        if not isinstance(event, PeerStarted | MembershipProposed | MembershipChanged):
            return
        self._check_on_disk(peer)
        for config in self._sight.configs(peer):
            first = self._configs.setdefault(config.version, config)
            invariant(
                not config.version or first.text() == config.text(),
                "one version, one membership",
                peer=peer,
                version=config.version,
                first=first,
                found=config,
            )
        committed = self._sight.configs(peer)[0]
        old = self._known.get(peer)
        invariant(
            old is None or committed.version >= old.version,
            "a membership never goes back",
            peer=peer,
            had=old,
            found=committed,
        )
        self._known[peer] = committed
        if committed.version and committed.version not in self._before:
            # A leader that stops, or loses power, right after it noted what was decided tells of it at its next start.
            decides = self._roles.of(peer).state in LEADS or isinstance(event, PeerStarted)
            self._takes_effect(peer, old, committed, decides=decides)

    def _check_leads(self, peer: int, zxid: int) -> None:
        """A leader that a membership leaves without a vote commits that membership last (§19.4)."""
        config = self._sight.configs(peer)[0]
        invariant(
            self._roles.of(peer).state not in LEADS or peer in config.voters or zxid <= config.version,
            "who has no vote any more commits nothing",
            peer=peer,
            zxid=zxid,
            config=config,
        )

    def _check_on_disk(self, peer: int) -> None:
        """What a start finds on disk, and what a peer tells of, is the newest membership there, proposed or not."""
        seen, disk = self._sight.configs(peer)[-1].version, self._sight.membership(peer)
        invariant(disk == seen, "a membership is on disk before it counts", peer=peer, version=seen, disk=disk)

    def _takes_effect(self, peer: int, old: QuorumConfig | None, new: QuorumConfig, *, decides: bool) -> None:
        """``new`` is committed at ``peer``, and nowhere before."""
        version = new.version
        if old is not None and not self._sight.strangers:
            newest = self._versions[-1] if self._versions else 0
            epoch = self._sight.current(peer)
            if decides and self._terms.of(epoch, peer).established:
                held = self._sight.holders(version)
            else:
                # A new leader completes what was pending: whoever took over its history has that too.
                held = self._terms.of(epoch, peer).synced if decides else set()
            facts = {"peer": peer, "version": version, "old": old, "new": new, "held_by": sorted(held)}
            invariant(
                decides and self._sight.is_quorum(peer, held, (old, new)),
                "quorums of both, then a new membership",
                **facts,
            )
            invariant(
                newest == old.version < version, "each membership follows the one in force", newest=newest, **facts
            )
        insort(self._versions, version)
        self._before[version] = old or new

    def deciding(self, leader: int, zxid: int) -> tuple[QuorumConfig, ...]:
        """Quorums of which configurations a proposal of ``leader`` needs."""
        in_force = self._sight.configs(leader)
        pending = tuple(
            config for config in in_force[1:] if config.version <= zxid and config.version not in self._before
        )
        at = bisect_right(self._versions, zxid)
        if at:
            version = self._versions[at - 1]
            new = self._configs[version]
            return (new, *pending) if zxid > version else (self._before[version], new, *pending)
        first = self._before[self._versions[0]] if self._versions else in_force[0]
        return (first, *pending)

    def steps(self, after: int, zxid: int) -> Iterator[int]:
        """The reconfigurations behind ``after`` and before ``zxid``, and that one: what is committed one by one."""
        for version in self._versions:
            if after < version < zxid and version & COUNTER_MASK:
                yield version
        yield zxid

    def wiped(self, peer: int) -> None:
        """``peer`` begins anew, with what its operator wrote."""
        self._known.pop(peer, None)
