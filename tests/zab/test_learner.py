"""The learner: scripts of its stories, the phase table, and merging of batches."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.scripts.runner import Command, run_script, scripts
from tests.zab.kit import config, payload, reconfig_payload, show, show_all, zx
from trioquorum.errors import PeerProtocolError
from trioquorum.invariants import InvariantViolation
from trioquorum.wire.quorum import (
    PacketType,
    QuorumPacket,
    decode_ack_epoch,
    decode_learner_info,
    encode_revalidate_reply,
)
from trioquorum.wire.txn import payload_zxid
from trioquorum.zab import learner_effects as effects
from trioquorum.zab.learner import STEPS, Learner, Phase
from trioquorum.zab.learner_effects import Effect

CARRIERS = (PacketType.PROPOSAL, PacketType.INFORM)
ACTIVATES = (PacketType.COMMITANDACTIVATE, PacketType.INFORMANDACTIVATE)


def packet(text: str) -> QuorumPacket:
    """``PROPOSAL:1.5``; ``PROPOSAL:1.5/1.6`` carries another transaction, ``PROPOSAL:1.5/none`` nothing.

    ``PROPOSAL:1.5/members+1+2`` proposes a configuration, ``COMMITANDACTIVATE:1.5/2`` commits it with 2 as the leader,
    ``INFORMANDACTIVATE:1.5/2/members+1+2`` does both, ``NEWLEADER:2.0/1.5/members+1+2`` carries the one of 1.5,
    ``UPTODATE:0/1.5`` says that it is committed, ``UPTODATE:0/cut`` is half of that. ``PROPOSAL:1.5/1.6/members+1+2``
    proposes a version that is not its own. ``REVALIDATE:session/yes``; a number instead of a name is any other type.
    """
    name, _, rest = text.partition(":")
    number, _, extra = rest.partition("/")
    kind = int(name) if name.isdigit() else PacketType[name]
    if kind == PacketType.REVALIDATE:
        return QuorumPacket(kind, -1, encode_revalidate_reply(int(number), valid=extra == "yes"))
    zxid = zx(number or "0")
    if "members" in extra or kind in ACTIVATES or (extra and kind == PacketType.UPTODATE):
        return QuorumPacket(kind, zxid, config_data(kind, zxid, extra))
    if kind in CARRIERS:
        return QuorumPacket(kind, zxid, None if extra == "none" else payload(zx(extra or number)))
    return QuorumPacket(kind, zxid)


def config_data(kind: int, zxid: int, extra: str) -> bytes | None:
    """The data of a packet that is about a configuration."""
    first, _, rest = extra.partition("/")
    listed = rest or first
    version = zx(first) if rest and kind not in ACTIVATES else zxid
    proposed = config(*map(int, listed.split("+")[1:]), version=version) if "members" in listed else None
    if kind == PacketType.UPTODATE:
        return b"\0" * 4 if first == "cut" else zx(first).to_bytes(8)
    if kind == PacketType.NEWLEADER:
        return proposed.text().encode() if proposed else None
    designated = int(first).to_bytes(8) if kind in ACTIVATES and first else b""
    return (designated + (reconfig_payload(zxid, proposed) if proposed else b"")) or None


def show_effect(effect: Effect) -> str:
    match effect:
        case effects.Log(records) | effects.Commit(records):
            assert [payload_zxid(payload) for _, payload in records] == [zxid for zxid, _ in records]
            return f"{type(effect).__name__} {show_all(zxid for zxid, _ in records)}"
        case effects.SendPacket(sent):
            return f"Send {show_packet(sent)}"
        case effects.Truncate(zxid) | effects.LoadSnapshot(zxid) | effects.AnswerPing(zxid):
            return f"{type(effect).__name__} {show(zxid)}"
        case effects.SetAcceptedEpoch(epoch) | effects.SetCurrentEpoch(epoch) | effects.Established(epoch):
            return f"{type(effect).__name__} {epoch}"
        case effects.SetLastSeen(proposed) | effects.TakeConfig(proposed):
            return f"{type(effect).__name__} {sorted(proposed.voters)} of {show(proposed.version)}"
        case effects.Activate(active, designated, applied):
            leader = "" if designated is None else f", led by {designated}"
            applies = "" if applied is None else f", apply {show(payload_zxid(applied))}"
            return f"Activate {sorted(active.voters)} of {show(active.version)}{leader}{applies}"
        case effects.Revalidated(session, valid):
            return f"Revalidated {session} {'yes' if valid else 'no'}"
        case _:
            return type(effect).__name__


def show_packet(sent: QuorumPacket) -> str:
    text = f"{PacketType(sent.type).name} {show(sent.zxid)}"
    if sent.type == PacketType.ACKEPOCH:
        text += f" currentEpoch={decode_ack_epoch(sent.data or b'')}"
    elif sent.type in (PacketType.FOLLOWERINFO, PacketType.OBSERVERINFO):
        info = decode_learner_info(sent.data or b"")
        text += f" peer={info.server_id} protocol={info.protocol_version:#x} config={info.config_version:#x}"
    return text


def make(
    *, observer: bool = False, accepted: int = 1, current: int = 1, last: str = "1.5", version: int = 0
) -> Learner:
    return Learner(
        2,
        observer=observer,
        accepted_epoch=accepted,
        current_epoch=current,
        last_zxid=zx(last),
        config_version=version,
    )


class Stage:
    """Commands of the learner's scripts."""

    def __init__(self) -> None:
        self.machine = make()

    def run(self, command: Command) -> str:
        try:
            answer: str = getattr(self, command.name)(*command.words, **command.options)
        except (PeerProtocolError, InvariantViolation) as error:
            return f"{type(error).__name__}: {error}"
        return answer

    def learner(
        self, role: str = "", *, accepted: str = "1", current: str = "1", last: str = "1.5", config: str = "0"
    ) -> str:
        """Start over; says how it introduces itself."""
        self.machine = make(
            observer=role == "observer", accepted=int(accepted), current=int(current), last=last, version=int(config, 0)
        )
        return show_packet(self.machine.first_packet())

    def receive(self, *packets: str) -> str:
        """One batch."""
        return "\n".join(map(show_effect, self.machine.receive_batch([packet(text) for text in packets])))

    def join(self, role: str = "", *, last: str = "1.5") -> str:
        """Start over as a learner that already serves under the leader of epoch 2, in sync with it."""
        self.machine = make(observer=role == "observer", last=last)
        batch = ["LEADERINFO:2.0", f"DIFF:{last}", "NEWLEADER:2.0", "UPTODATE"]
        self.machine.receive_batch([packet(text) for text in batch])
        return self.phase()

    def loaded(self) -> str:
        self.machine.snapshot_loaded()
        return self.phase()

    def flushed(self, zxid: str) -> str:
        ack = self.machine.acknowledge(zx(zxid))
        return f"flushed {zxid}: {show_packet(ack) if ack else 'no ACK'}"

    def phase(self) -> str:
        return self.machine.phase.value

    def synced(self) -> str:
        machine = self.machine
        return f"by {machine.sync_mode} to {show(machine.sync_zxid)} with {machine.synced_proposals} transactions"


@pytest.mark.parametrize("path", scripts("learner"), ids=lambda path: path.stem)
def test_script(path: Path, request: pytest.FixtureRequest) -> None:
    run_script(path, Stage().run, rewrite=request.config.getoption("--rewrite"))


LEADS_TO: dict[Phase, list[str]] = {
    Phase.JOINING: [],
    Phase.CHOOSING: ["LEADERINFO:2.0"],
    Phase.LOADING: ["LEADERINFO:2.0", "SNAP:1.9"],
    Phase.SYNCING: ["LEADERINFO:2.0", "DIFF:1.5", "PROPOSAL:1.6"],
    Phase.ACKING: ["LEADERINFO:2.0", "DIFF:1.5", "PROPOSAL:1.6", "NEWLEADER:2.0"],
    Phase.SERVING: ["LEADERINFO:2.0", "DIFF:1.5", "PROPOSAL:1.6", "NEWLEADER:2.0", "UPTODATE"],
}
FITTING: dict[int, str] = {
    PacketType.LEADERINFO: "LEADERINFO:2.0",
    PacketType.DIFF: "DIFF:1.5",
    PacketType.TRUNC: "TRUNC:1.3",
    PacketType.SNAP: "SNAP:1.9",
    PacketType.PROPOSAL: "PROPOSAL:1.7",
    PacketType.COMMIT: "COMMIT:1.6",
    PacketType.INFORM: "INFORM:1.7",
    PacketType.COMMITANDACTIVATE: "COMMITANDACTIVATE:1.6/2",
    PacketType.INFORMANDACTIVATE: "INFORMANDACTIVATE:1.7/2/members+1+2",
    PacketType.NEWLEADER: "NEWLEADER:2.0",
    PacketType.REVALIDATE: "REVALIDATE:7/yes",
}


@pytest.mark.parametrize("phase", Phase, ids=lambda phase: phase.value)
@pytest.mark.parametrize("kind", PacketType, ids=lambda kind: kind.name)
def test_the_table_is_the_law(phase: Phase, kind: PacketType) -> None:
    machine = make(observer=kind in (PacketType.INFORM, PacketType.INFORMANDACTIVATE))
    leads = LEADS_TO[phase]
    if kind == PacketType.COMMITANDACTIVATE:
        leads = [f"{text}/members+1+2" if text == "PROPOSAL:1.6" else text for text in leads]
    machine.receive_batch([packet(text) for text in leads])
    assert machine.phase is phase
    fitting = packet(FITTING.get(kind, f"{kind.name}:2.0"))
    following = STEPS.get((phase, kind))
    if following is None:
        with pytest.raises(PeerProtocolError, match=f"packet of type {int(kind)} while {phase.value}"):
            machine.receive_batch([fitting])
    else:
        machine.receive_batch([fitting])
        assert machine.phase is following


def serving() -> Learner:
    machine = make()
    machine.receive_batch([packet(text) for text in ("LEADERINFO:2.0", "DIFF:1.5", "NEWLEADER:2.0", "UPTODATE")])
    return machine


@given(st.lists(st.sampled_from("PCSV."), max_size=40), st.data())
def test_a_batch_means_what_its_packets_mean(letters: list[str], data: st.DataObject) -> None:
    """However a stream is cut into batches: the same log, the same commits, and each answer after the same commits."""
    stream: list[QuorumPacket] = []
    proposed = committed = 0
    for letter in letters:
        if letter == "P":
            proposed += 1
            stream.append(packet(f"PROPOSAL:2.{proposed}"))
        elif letter == "C" and committed < proposed:
            committed = data.draw(st.integers(committed + 1, proposed))
            stream.append(packet(f"COMMIT:2.{committed}"))
        elif letter in "SV.":
            stream.append(packet({"S": "SYNC", "V": "REVALIDATE:5/yes", ".": "PING:2.1"}[letter]))
    one_by_one, batched = serving(), serving()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    batches = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    expected = _meaning([one_by_one.receive_batch([one]) for one in stream])
    assert _meaning([batched.receive_batch(batch) for batch in batches]) == expected


def _meaning(batches: list[list[Effect]]) -> tuple[list[bytes], list[bytes], list[tuple[str, int]]]:
    """What is logged, what is committed, and behind how many commits each answer comes."""
    logged: list[bytes] = []
    committed: list[bytes] = []
    answers: list[tuple[str, int]] = []
    for effect in [effect for batch in batches for effect in batch]:
        match effect:
            case effects.Log(records):
                logged += [payload for _, payload in records]
            case effects.Commit(records):
                committed += [payload for _, payload in records]
                assert committed == logged[: len(committed)], "committed before it was logged"
            case effects.SyncDone() | effects.Revalidated():
                answers.append((type(effect).__name__, len(committed)))
            case _:
                assert isinstance(effect, effects.AnswerPing)
    return logged, committed, answers


def test_a_batch_becomes_few_effects() -> None:
    batch = [packet(f"PROPOSAL:2.{counter}") for counter in range(1, 101)]
    batch[60:60] = [packet("COMMIT:2.50")]
    batch.append(packet("COMMIT:2.99"))
    log, commit = serving().receive_batch(batch)
    assert isinstance(log, effects.Log)
    assert len(log.records) == 100
    assert isinstance(commit, effects.Commit)
    assert len(commit.records) == 99


def test_only_what_was_proposed_is_acknowledged() -> None:
    machine = serving()
    machine.receive_batch([packet("PROPOSAL:2.1")])
    with pytest.raises(InvariantViolation, match="only what was proposed"):
        machine.acknowledge(zx("2.2"))


def test_a_snapshot_that_nobody_announced() -> None:
    with pytest.raises(InvariantViolation, match="announced"):
        make().snapshot_loaded()
