"""Elections in words."""

from pathlib import Path

from trioquorum.admin.explaining import Heard, elections_of, explain, summary
from trioquorum.events import (
    Committed,
    Elected,
    Established,
    Event,
    LearnerSynced,
    PeerStarted,
    RoundStarted,
    StateChanged,
    VoteChanged,
    VoteHeard,
)


def looks(reason: str = "the leader is gone") -> Event:
    return StateChanged(old="following", new="looking", reason=reason)


def begins(leader: int, zxid: int = 5, epoch: int = 1) -> Event:
    return RoundStarted(round=2, leader=leader, zxid=zxid, peer_epoch=epoch)


def hears(sender: int, leader: int, zxid: int = 5, outcome: str = "counted", epoch: int = 1) -> Event:
    return VoteHeard(
        sender=sender, state="looking", round=2, leader=leader, zxid=zxid, peer_epoch=epoch, outcome=outcome
    )


def changes(leader: int, because: str = "better vote", zxid: int = 5) -> Event:
    return VoteChanged(round=2, leader=leader, zxid=zxid, peer_epoch=1, because=because)


def elected(leader: int = 2) -> Event:
    return Elected(leader=leader, round=2, voters=(1, 2), duration_ms=40)


def serves(role: str, leader: int = 2) -> Event:
    return Established(role=role, leader=leader, epoch=2, zxid=2 << 32)


def at(*told: tuple[int, int, Event]) -> list[Heard]:
    return [Heard(wall_ms=wall_ms, peer=peer, event=event) for wall_ms, peer, event in told]


STORY = at(
    (1000, 1, looks()),
    (1001, 1, begins(1)),
    (1005, 2, looks()),
    (1006, 2, begins(2)),
    (1010, 1, hears(2, 2)),
    (1010, 1, changes(2)),
    (1011, 2, hears(1, 1)),
    (1012, 2, hears(9, 9, outcome="ignored: not a voter")),
    (1040, 1, elected()),
    (1041, 2, elected()),
    (1050, 2, serves("leader")),
    (1052, 1, serves("follower")),
    (1053, 2, LearnerSynced(learner=1, observer=False)),
    (1054, 1, Committed(zxid=2 << 32 | 1)),
)


def test_a_story_from_beginning_to_end() -> None:
    (election,) = elections_of(STORY)
    assert election.over
    assert election.peers == [1, 2]
    told = "".join(f"{line}\n" for line in explain(election))
    assert told == Path(__file__).with_name("story.txt").read_text()


def test_why_a_vote_is_better() -> None:
    def why(leader: int, zxid: int, epoch: int) -> str:
        told = at((0, 1, looks()), (1, 1, begins(5, 7)), (2, 1, hears(2, leader, zxid, epoch=epoch)))
        (election,) = elections_of(told)
        return list(explain(election))[-1].partition("counted, ")[2]

    assert why(1, 3, 2) == "and better: epoch 2 is after 1"
    assert why(1, 8, 1) == "and better: 0x8 is after 0x7"
    assert why(6, 7, 1) == "and better: the histories are equal and 6 is the higher id"
    assert why(9, 9, 0) == "but no better: epoch 1 is after 0"
    assert why(9, 6, 1) == "but no better: 0x7 is after 0x6"
    assert why(5, 7, 1) == "it is for the same peer"


def test_elections_are_told_apart() -> None:
    later = [Heard(wall_ms=it.wall_ms + 60_000, peer=it.peer, event=it.event) for it in STORY]
    alone = at((200_000, 1, looks("no quorum")), (200_001, 1, begins(1)), (200_300, 1, hears(3, 3)))
    found = elections_of([*STORY, *later, *alone])
    assert [(it.began_ms, it.over, it.peers) for it in found] == [
        (1000, True, [1, 2]),
        (61000, True, [1, 2]),
        (200_000, False, [1]),
    ]
    assert summary(found[2]) == "peer 1 looked for a leader; no quorum has agreed yet"


def test_what_is_said_again_and_again_is_said_twice() -> None:
    told = at(
        (0, 1, looks()),
        (1, 1, begins(1)),
        *((10 * n, 1, hears(2, 2, outcome="ignored: older round")) for n in range(1, 9)),
    )
    (election,) = elections_of(told)
    assert sum("older round" in line for line in explain(election)) == 2
    assert list(explain(election))[-1].strip() == "(and again)"


def test_a_peer_that_was_started_again_looks_anew() -> None:
    started = PeerStarted(peer=2, last_zxid=5, accepted_epoch=1, current_epoch=1)
    told = at((0, 2, looks()), (1, 2, begins(2)), (5000, 2, started), (5001, 2, looks()), (5002, 2, begins(2)))
    found = elections_of(told)
    assert [it.began_ms for it in found] == [0, 5001]


def test_a_leader_that_dies_at_once_is_followed_by_an_election_of_its_own() -> None:
    again = at(
        (1500, 1, looks("the leader is silent")),
        (1501, 1, begins(1)),
        (1505, 3, looks("the leader is silent")),
        (1506, 3, begins(3)),
        (1540, 1, elected(3)),
        (1550, 3, serves("leader", 3)),
        (1552, 1, serves("follower", 3)),
    )
    found = elections_of([*STORY, *again])
    assert [(it.began_ms, it.over, it.peers) for it in found] == [(1000, True, [1, 2]), (1500, True, [1, 3])]
    assert "peer 2 was elected" in summary(found[0])
    assert "peer 3 was elected" in summary(found[1])


def test_who_looks_a_little_later_holds_the_same_election() -> None:
    late = at((2000, 3, looks()), (2001, 3, begins(3)), (2050, 3, serves("follower")))
    (election,) = elections_of([*STORY, *late])
    assert election.peers == [1, 2, 3]


def test_nothing_is_no_election() -> None:
    assert elections_of(at((0, 1, serves("follower")), (9, 1, Committed(zxid=1)))) == []
