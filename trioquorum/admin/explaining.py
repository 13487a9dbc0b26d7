"""Elections in words, from the events of one or all peers: who voted for whom, why a vote changed or did not count.

Pure: events go in, lines of text come out.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from trioquorum import events as kinds
from trioquorum.events import Event

TOGETHER_MS: Final = 2000
"""Who begins to look so soon after the others served holds the same election, unless it did; clocks may differ too."""

UNTRUSTED_ZXID: Final = -1
REPEATS_MIN: Final = 3
"""So many equal lines of a peer, or more, are one line that says how often."""

_TOLD: Final = (
    kinds.PeerStarted,
    kinds.StateChanged,
    kinds.RoundStarted,
    kinds.VoteChanged,
    kinds.VoteHeard,
    kinds.Elected,
    kinds.PhaseChanged,
    kinds.Established,
    kinds.LinkUp,
    kinds.LinkDown,
    kinds.LearnerSyncing,
    kinds.LearnerSynced,
    kinds.SyncReceived,
    kinds.DataUntrusted,
)


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """An event of ``peer``, by its own clock."""

    wall_ms: int
    peer: int
    event: Event


class Election(msgspec.Struct, frozen=True, kw_only=True):
    """What happened from when the first peer began to look until the last one of them served again, or now."""

    began_ms: int
    heard: list[Heard]
    over: bool

    @property
    def peers(self) -> list[int]:
        """Who looked for a leader."""
        return sorted({it.peer for it in self.heard if isinstance(it.event, kinds.RoundStarted)})


def elections_of(heard: Iterable[Heard]) -> list[Election]:
    """Every election in what was heard, the oldest first."""
    told = sorted((it for it in heard if isinstance(it.event, _TOLD)), key=lambda it: it.wall_ms)
    found: list[Election] = []
    current: list[Heard] = []
    looking: set[int] = set()
    served: set[int] = set()  # in the current election
    last_ms = 0
    for it in told:
        begins = isinstance(it.event, kinds.StateChanged) and it.event.new == "looking"
        if begins and not looking and (it.peer in served or it.wall_ms - last_ms > TOGETHER_MS):
            _close(found, current, over=True)
            current = []
            served.clear()
        if begins:
            looking.add(it.peer)
        if current or begins:
            current.append(it)
        if isinstance(it.event, kinds.Established) and it.peer in looking:
            looking.discard(it.peer)
            served.add(it.peer)
            last_ms = it.wall_ms
        if isinstance(it.event, kinds.PeerStarted):
            looking.discard(it.peer)
    _close(found, current, over=not looking)
    return found


def _close(found: list[Election], current: list[Heard], *, over: bool) -> None:
    """An election ends with the last peer that served; what came later belongs to none."""
    ends = [at for at, it in enumerate(current) if isinstance(it.event, kinds.Established | kinds.LearnerSynced)]
    if current:
        kept = current[: ends[-1] + 1] if over and ends else current
        found.append(Election(began_ms=current[0].wall_ms, heard=kept, over=over))


def explain(election: Election, names: Sequence[int] = ()) -> Iterator[str]:
    """Lines about an election; ``names`` are peers that could not be asked."""
    yield summary(election)
    if names:
        yield f"  (not heard: {_peers(names)})"
    votes: dict[int, kinds.RoundStarted | kinds.VoteChanged] = {}
    last = ("", 0, 0)
    for it in election.heard:
        text = _sentence(it.event, votes.get(it.peer))
        if isinstance(it.event, kinds.RoundStarted | kinds.VoteChanged):
            votes[it.peer] = it.event
        if not text:
            continue
        line = f"peer {it.peer}: {text}"
        count = last[1] + 1 if line == last[0] else 1
        last = (line, count, it.wall_ms)
        if count < REPEATS_MIN:
            yield f"  {it.wall_ms - election.began_ms:+7d} ms  {line}"
        elif count == REPEATS_MIN:
            yield f"  {'':10}  (and again)"


def summary(election: Election) -> str:
    """One line: who looked, who leads, by whose votes, how long it took."""
    elected = [it for it in election.heard if isinstance(it.event, kinds.Elected)]
    serving = [it for it in election.heard if isinstance(it.event, kinds.Established)]
    looked = f"{_peers(election.peers)} looked for a leader"
    if not elected:
        return f"{looked}; no quorum has agreed yet"
    last = elected[-1]
    assert isinstance(last.event, kinds.Elected)
    won = last.event
    said = f"{looked}; peer {won.leader} was elected in round {won.round}"
    leader = next((it for it in elected if it.peer == won.leader), last)
    assert isinstance(leader.event, kinds.Elected)
    said += f" by {_peers(leader.event.voters)} after {leader.wall_ms - election.began_ms} ms"
    if serving:
        first = serving[0]
        assert isinstance(first.event, kinds.Established)
        took = f"{first.wall_ms - election.began_ms} ms"
        said += f"; epoch {first.event.epoch} began after {took}"
    return said if election.over else f"{said}; not all of them serve yet"


def _sentence(event: Event, mine: "kinds.RoundStarted | kinds.VoteChanged | None") -> str:
    """What an event says; ``mine`` is what its peer votes for at the time."""
    match event:
        case kinds.PeerStarted():
            return f"starts, with {_zxid(event.last_zxid)} as its last transaction"
        case kinds.DataUntrusted():
            return "has lost its data, so it does not vote"
        case kinds.StateChanged(new="looking"):
            return f"looks for a leader: {event.reason}"
        case kinds.StateChanged():
            return f"is {event.new}: {event.reason}"
        case kinds.RoundStarted():
            return f"round {event.round} begins; votes for {_candidate(event)}"
        case kinds.VoteChanged():
            return f"votes for {_candidate(event)} from now on: {_why_changed(event, mine)}"
        case kinds.VoteHeard():
            return _vote_heard(event, mine)
        case kinds.Elected():
            return (
                f"a quorum agrees: peer {event.leader} is elected in round {event.round} by {_peers(event.voters)}, "
                f"{event.duration_ms} ms after this peer began to look"
            )
        case kinds.PhaseChanged():
            return f"{event.phase}, epoch {event.epoch}"
        case kinds.Established():
            fed = f", fed by peer {event.master}" if event.master not in (-1, event.leader) else ""
            if event.role == "leader":
                return f"leads in epoch {event.epoch}, and serves"
            return f"serves as {event.role} of peer {event.leader} in epoch {event.epoch}, at {_zxid(event.zxid)}{fed}"
    return _of_links(event)


def _of_links(event: Event) -> str:
    match event:
        case kinds.LinkUp():
            return f"{event.kind} link with peer {event.peer}"
        case kinds.LinkDown():
            return f"{event.kind} link with peer {event.peer} ended: {event.reason}"
        case kinds.LearnerSyncing():
            return (
                f"peer {event.learner} is at {_zxid(event.learner_zxid)} and gets {event.mode} to "
                f"{_zxid(event.target_zxid)}, {event.proposals} proposals"
            )
        case kinds.LearnerSynced():
            return f"peer {event.learner} has the history"
        case kinds.SyncReceived():
            return f"has got {event.mode} to {_zxid(event.zxid)}, {event.proposals} proposals"
    return ""


def _candidate(vote: kinds.RoundStarted | kinds.VoteChanged) -> str:
    if vote.leader < 0:
        return "nobody, it only looks on"
    return f"peer {vote.leader} (epoch {vote.peer_epoch}, {_zxid(vote.zxid)})"


def _vote_heard(event: kinds.VoteHeard, mine: "kinds.RoundStarted | kinds.VoteChanged | None") -> str:
    said = f"hears that peer {event.sender}, {event.state} in round {event.round}, is for peer {event.leader}"
    said += f" (epoch {event.peer_epoch}, {_zxid(event.zxid)}); {event.outcome}"
    if event.outcome != "counted" or mine is None:
        return said
    if mine.leader == event.leader:
        return f"{said}, it is for the same peer"
    better = _advantage(event, mine)
    return f"{said}, and better: {better}" if better else f"{said}, but no better: {_advantage(mine, event)}"


def _why_changed(event: kinds.VoteChanged, before: "kinds.RoundStarted | kinds.VoteChanged | None") -> str:
    if event.because != "better vote" or before is None:
        return event.because
    return f"{event.because}, {_advantage(event, before) or 'by what was heard'}"


def _advantage(one: "_Vote", other: "_Vote") -> str:
    """Why one vote is better than the other: by epoch, then history, then id; empty if it is not."""
    if one.peer_epoch != other.peer_epoch:
        return f"epoch {one.peer_epoch} is after {other.peer_epoch}" if one.peer_epoch > other.peer_epoch else ""
    if one.zxid != other.zxid:
        return f"{_zxid(one.zxid)} is after {_zxid(other.zxid)}" if one.zxid > other.zxid else ""
    return f"the histories are equal and {one.leader} is the higher id" if one.leader > other.leader else ""


_Vote = kinds.RoundStarted | kinds.VoteChanged | kinds.VoteHeard


def _zxid(zxid: int) -> str:
    return "no history" if zxid == UNTRUSTED_ZXID else f"{zxid:#x}" if zxid >= 0 else "none"


def _peers(ids: Iterable[int]) -> str:
    ids = list(ids)
    if not ids:
        return "nobody"
    return f"peer {ids[0]}" if len(ids) == 1 else f"peers {', '.join(map(str, ids))}"
