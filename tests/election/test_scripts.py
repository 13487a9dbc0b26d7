"""Stories told to the election machine; the scripts say what they are about."""

from pathlib import Path

import pytest

from tests.election.world import World, members
from tests.scripts.runner import Command, run_script, scripts
from trioquorum.events import RoundStarted, VoteChanged, VoteHeard
from trioquorum.wire.election import Notification, PeerState
from trioquorum.zab.ballots import (
    NO_VOTE,
    AskOracle,
    ConfigHeard,
    ConnectAll,
    Done,
    Effect,
    Observe,
    ReportLooking,
    Send,
    SendAgain,
    SendAll,
    Settle,
    Vote,
    Wait,
)
from trioquorum.zab.election import Election
from trioquorum.zab.quorum import QuorumConfig


class Stage:
    """The commands. ``brief`` leaves out everything but changed votes and results."""

    def __init__(self) -> None:
        self.world = World(QuorumConfig(members([1])))
        self.brief = False
        self.shown = 0

    def __call__(self, command: Command) -> str:
        extra = getattr(self, f"do_{command.name}")(command)
        new, self.shown = self.world.effects[self.shown :], len(self.world.effects)
        lines = [f"{sid}: {line}" for sid, effect in new if (line := self.line(effect))]
        return "\n".join([*lines, *([extra] if extra else [])])

    def do_brief(self, _: Command) -> None:
        self.brief = True

    def do_peers(self, command: Command) -> None:
        """peers 1,2,3 observers=4 zxid=1:0x5,2:0x7 epoch=1:2 group=1:1,2:1 weight=1:0"""
        voters, options = numbers(command.words[0]), command.options
        observers = numbers(options.get("observers", ""))
        config = QuorumConfig(
            members(voters, observers, mapping(options.get("group")), mapping(options.get("weight"))),
            int(options.get("version", "0"), 16),
        )
        self.world = World(config)
        self.world.zxids |= mapping(options.get("zxid"))
        self.world.epochs |= mapping(options.get("epoch"))
        self.shown = 0

    def do_data(self, command: Command) -> None:
        """data zxid=3:0x9 epoch=3:1: what the peers' logs end with from now on"""
        self.world.zxids |= mapping(command.options.get("zxid"))
        self.world.epochs |= mapping(command.options.get("epoch"))

    def do_reconfig(self, command: Command) -> None:
        """reconfig 1 last_seen=1,2,4 version=100: the peer has seen a newer configuration, not yet committed"""
        (sid,) = numbers(command.words[0])
        newer = QuorumConfig(members(numbers(command.options["last_seen"])), int(command.options["version"], 16))
        self.world.machines.setdefault(sid, Election(sid, self.world.config)).set_configs(self.world.config, newer)

    def do_oracle(self, command: Command) -> None:
        """oracle 1: asks | oracle 1 yes: it may lead alone | oracle 1 no"""
        (sid,) = numbers(command.words[0])
        if len(command.words) == 1:
            self.world.machines[sid] = Election(sid, self.world.config, oracle=True)
        else:
            self.world.answer_oracle(sid, lead=command.words[1] == "yes")

    def do_look(self, command: Command) -> None:
        for sid in numbers(command.words[0]):
            self.world.look(sid)

    def do_crash(self, command: Command) -> None:
        for sid in numbers(command.words[0]):
            self.world.crash(sid)

    def do_down(self, command: Command) -> None:
        """down 1-3: 1 sees its link to 3 end; up 1-3: there is one again"""
        for pair in command.words:
            self.world.link_down(*map(int, pair.split("-")))

    def do_up(self, command: Command) -> None:
        for pair in command.words:
            self.world.link_up(*map(int, pair.split("-")))

    def do_abandon(self, command: Command) -> None:
        for sid in numbers(command.words[0]):
            self.world.machines[sid].abandon()
            self.world.timers.pop(sid, None)

    def do_epoch(self, command: Command) -> None:
        """epoch 1,2 7: these established epoch 7"""
        for sid in numbers(command.words[0]):
            self.world.machines[sid].set_peer_epoch(int(command.words[1], 0))

    def do_take(self, command: Command) -> None:
        """take 1 leading leader=1 round=1: a role without an election"""
        (sid,) = numbers(command.words[0])
        leader, zxid, round_, epoch = (
            int(command.options.get(key, "0"), 0) for key in ("leader", "zxid", "round", "epoch")
        )
        self.world.machines.setdefault(sid, Election(sid, self.world.config)).settled(
            PeerState[command.words[1].upper()], Vote(leader, zxid, round_, epoch)
        )

    def do_deliver(self, command: Command) -> None:
        """deliver [1>2 ...]: everything until nobody says anything more, or the oldest message of each pair"""
        if not command.words:
            self.world.deliver_all()
        for pair in command.words:
            self.world.deliver(self.index(pair))

    def do_lose(self, command: Command) -> None:
        """lose [1>2 ...]: everything under way, or all of these pairs"""
        pairs = [tuple(map(int, word.split(">"))) for word in command.words]
        self.world.wire = [entry for entry in self.world.wire if pairs and entry[:2] not in pairs]

    def do_note(self, command: Command) -> None:
        """note 2>1 looking leader=2 zxid=0x0 round=1 epoch=0 version=2 config=...: a message out of the blue"""
        frm, to = map(int, command.words[0].split(">"))
        self.world.hear(to, frm, self.note(command.words[1], command.options))

    def do_late(self, command: Command) -> None:
        """late 1: both timers ring, though the peer called them off"""
        for sid in numbers(command.words[0]):
            assert sid not in self.world.timers
            machine = self.world.machines[sid]
            assert machine.silence(queue_idle=True) == machine.settle_over() == []

    def do_silence(self, command: Command) -> None:
        for sid in numbers(command.words[0]):
            assert isinstance(self.world.timers[sid], Wait)
            self.world.timer_ends(sid, queue_idle="busy" not in command.words)

    def do_settle(self, command: Command) -> None:
        for sid in numbers(command.words[0]):
            assert isinstance(self.world.timers[sid], Settle)
            self.world.timer_ends(sid)

    def do_states(self, _: Command) -> str:
        return "\n".join(
            f"{sid} {machine.state.name.lower()}"
            + ("" if machine.state is PeerState.LOOKING else f" {machine.current_vote.leader}")
            + f" round {machine.round}"
            for sid, machine in sorted(self.world.machines.items())
        )

    def index(self, pair: str) -> int:
        frm, to = map(int, pair.split(">"))
        return next(i for i, entry in enumerate(self.world.wire) if entry[:2] == (frm, to))

    @staticmethod
    def note(state: str, options: dict[str, str]) -> Notification:
        return Notification(
            state=PeerState[state.upper()],
            leader=NO_VOTE if options["leader"] == "none" else int(options["leader"]),
            zxid=int(options.get("zxid", "0"), 0),
            round=int(options.get("round", "1"), 0),
            peer_epoch=int(options.get("epoch", "0"), 0),
            version=int(options.get("version", "2")),
            config=options.get("config"),
        )

    def line(self, effect: Effect) -> str:
        match effect:
            case Done(vote, state, voters):
                by = ",".join(map(str, sorted(voters)))
                return f"done: {state.name.lower()} {show(vote.leader)} round {vote.round}, agreed: {by}"
            case Observe(VoteChanged() as event):
                return f"votes {show(event.leader)} in round {event.round}: {event.because}"
        return "" if self.brief else self.detail(effect)

    @staticmethod
    def detail(effect: Effect) -> str:
        match effect:
            case Send(sid, note):
                return f"send {sid}: {text(note)}"
            case SendAll(sids, note):
                return f"send {','.join(map(str, sids))}: {text(note)}"
            case SendAgain(sids, note):
                return f"send {','.join(map(str, sids))} again: {text(note)}"
            case Wait(ms):
                return f"wait {ms} ms"
            case Settle(ms):
                return f"settle {ms} ms"
            case ConnectAll():
                return "connect all"
            case AskOracle():
                return "ask the oracle"
            case ReportLooking(sid):
                return f"report that {sid} looks"
            case ConfigHeard(sid, version, _):
                return f"{sid} knows configuration {version:x}"
            case Observe(RoundStarted() as event):
                return f"round {event.round}"
            case Observe(VoteHeard() as event):
                return f"heard {event.sender} {event.state} {show(event.leader)}: {event.outcome}"
        raise AssertionError(effect)


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def mapping(text: str | None) -> dict[int, int]:
    pairs = (word.split(":") for word in (text or "").split(",") if word)
    return {int(sid): int(value, 0) for sid, value in pairs}


def show(number: int) -> str:
    return "none" if number == NO_VOTE else str(number)


def text(note: Notification) -> str:
    zxid = "none" if note.zxid == NO_VOTE else f"{note.zxid:#x}"
    return f"{note.state.name.lower()} {show(note.leader)} zxid {zxid} epoch {show(note.peer_epoch)} round {note.round}"


@pytest.mark.parametrize("path", scripts("election"), ids=lambda path: path.stem)
def test_script(path: Path, rewrite: bool) -> None:
    run_script(path, Stage(), rewrite=rewrite)
