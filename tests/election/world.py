"""Several election machines and the messages between them, without Trio."""

from collections.abc import Iterable

from trioquorum.wire.election import Notification, PeerState
from trioquorum.zab.ballots import ConnectAll, Done, Effect, Send, SendAgain, SendAll, Settle, Wait
from trioquorum.zab.election import Election
from trioquorum.zab.quorum import Member, QuorumConfig


def members(
    voters: Iterable[int],
    observers: Iterable[int] = (),
    groups: dict[int, int] | None = None,
    weights: dict[int, int] | None = None,
) -> list[Member]:
    voters = set(voters)
    return [
        Member(
            id=sid,
            quorum=f"memory://p{sid}:1",
            election=f"memory://p{sid}:2",
            role="participant" if sid in voters else "observer",
            weight=(weights or {}).get(sid, 1),
            group=(groups or {}).get(sid),
        )
        for sid in sorted(voters.union(observers))
    ]


class World:
    """Machines by peer id; ``wire`` holds what is under way, oldest first."""

    def __init__(self, config: QuorumConfig) -> None:
        self.config = config
        self.zxids = dict.fromkeys(config.members, 0)
        self.epochs = dict.fromkeys(config.members, 0)
        self.machines: dict[int, Election] = {}
        self.timers: dict[int, Wait | Settle] = {}
        self.done: dict[int, Done] = {}
        self.wire: list[tuple[int, int, Notification]] = []
        self.last: dict[tuple[int, int], Notification] = {}
        self.effects: list[tuple[int, Effect]] = []

    def look(self, sid: int) -> None:
        """Start the peer if it does not run, and an election of it."""
        if sid not in self.machines:
            self.machines[sid] = Election(sid, self.config)
            # A link that comes up carries the last message again.
            self.wire += [
                (frm, to, note) for (frm, to), note in self.last.items() if to == sid and frm in self.machines
            ]
        self.done.pop(sid, None)
        self._perform(sid, self.machines[sid].look(self.zxids[sid], self.epochs[sid]))

    def crash(self, sid: int) -> None:
        self.machines.pop(sid)
        self.timers.pop(sid, None)
        self.done.pop(sid, None)
        self.wire = [(frm, to, note) for frm, to, note in self.wire if sid not in (frm, to)]
        self.last = {pair: note for pair, note in self.last.items() if sid not in pair}

    def link_down(self, sid: int, other: int) -> None:
        """``sid`` sees its link to ``other`` end."""
        self._perform(sid, self.machines[sid].link_down(other))

    def link_up(self, sid: int, other: int) -> None:
        self.machines[sid].link_up(other)

    def deliver(self, index: int = 0) -> None:
        frm, to, note = self.wire.pop(index)
        self.hear(to, frm, note)

    def hear(self, to: int, frm: int, note: Notification) -> None:
        if to in self.machines:
            self._perform(to, self.machines[to].heard(frm, note))

    def deliver_all(self) -> None:
        """Until nothing is under way; a storm of answers to answers fails here."""
        size = len(self.config.members)
        bound = 30 * size**2 + 3 * size * len(self.wire)
        for _ in range(bound):
            if not self.wire:
                return
            self.deliver()
        raise AssertionError(f"still talking after {bound} messages")

    def timer_ends(self, sid: int, *, queue_idle: bool = True) -> None:
        machine = self.machines[sid]
        if isinstance(self.timers.pop(sid), Settle):
            self._perform(sid, machine.settle_over())
        else:
            self._perform(sid, machine.silence(queue_idle))

    def answer_oracle(self, sid: int, *, lead: bool) -> None:
        self._perform(sid, self.machines[sid].oracle_says(lead=lead))

    def looking(self) -> list[int]:
        return [sid for sid, machine in sorted(self.machines.items()) if machine.state is PeerState.LOOKING]

    def _perform(self, sid: int, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self.effects.append((sid, effect))
            match effect:
                case Send(to, note):
                    self._send(sid, to, note)
                case SendAll(sids, note) | SendAgain(sids, note):
                    for to in sids:
                        self._send(sid, to, note)
                case Wait() | Settle():
                    self.timers[sid] = effect
                case Done():
                    self.timers.pop(sid, None)
                    self.done[sid] = effect
                case ConnectAll():
                    pass

    def _send(self, frm: int, to: int, note: Notification) -> None:
        assert frm != to
        self.last[frm, to] = note
        if to in self.machines:
            self.wire.append((frm, to, note))
