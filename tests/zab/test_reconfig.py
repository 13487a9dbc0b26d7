"""Reconfiguration without a network: requests, quorums of two configurations, who leads on; and the text of both."""

from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st

from tests.scripts.runner import Command, run_script, scripts
from tests.zab.kit import config, show_all, zx
from trioquorum.errors import ConfigError, PeerProtocolError, RequestFailed
from trioquorum.invariants import InvariantViolation
from trioquorum.wire.records import ReconfigRequest
from trioquorum.zab.leader import Leader
from trioquorum.zab.quorum import Member, QuorumConfig
from trioquorum.zab.reconfig import next_config, outcome, parse_config, parse_member


def line(sid: int, role: str = "participant", port: int = 0) -> str:
    return f"server.{sid}=host{sid}:{port or 2888}:3888:{role};host{sid}:2181"


def ids(text: str) -> list[int]:
    return [int(sid) for sid in text.split(",") if sid]


def listed(text: str) -> QuorumConfig:
    """``1,2,3o,4@9``: 3 observes, 4 has another quorum port. ``1/1,2/2``: each in a group of its own."""
    lines = []
    for word in text.split(","):
        word, _, group = word.partition("/")
        sid, _, port = word.partition("@")
        if group:
            lines.append(f"group.{group}={sid}")
        lines.append(line(int(sid.rstrip("o")), "observer" if "o" in sid else "participant", int(port or 0)))
    return parse_config("\n".join(lines))


def servers(text: str) -> str | None:
    """The server lines of such a list, as requests have them."""
    return ",".join(listed(text).text().splitlines()[:-1]) if text else None


class Stage:
    """Commands of the scripts. Zxids are counters of epoch 1."""

    def __init__(self) -> None:
        self.leader = Leader(1, listed("1,2,3"), epoch=1)

    def run(self, command: Command) -> str:
        try:
            answer: str = getattr(self, command.name)(*command.words, **command.options)
        except (RequestFailed, ConfigError, PeerProtocolError, InvariantViolation, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return answer

    def ensemble(self, members: str, me: str = "1", pending: str = "") -> str:
        """Start over as leader ``me``; ``pending`` was proposed in an earlier term."""
        last_seen = QuorumConfig(listed(pending).members.values(), zx("0.9")) if pending else None
        self.leader = Leader(int(me), listed(members), last_seen, epoch=1)
        return ""

    def propose(self, *counters: str) -> str:
        for counter in counters:
            self.leader.propose(zx(f"1.{counter}"), b"", None)
        return ""

    def reconfig(self, counter: str, members: str) -> str:
        zxid = zx(f"1.{counter}")
        self.leader.propose(zxid, b"", None, QuorumConfig(listed(members).members.values(), zxid))
        return ""

    def ack(self, sids: str, counter: str) -> str:
        said = []
        for sid in ids(sids):
            committed = self.leader.ack(sid, zx(f"1.{counter}"))
            decided = self.leader.decided
            tail = f", decided {sorted(decided.voters)} led by {self.leader.designated}" if decided else ""
            said.append(f"{sid}: commits {show_all(p.zxid for p in committed)}{tail}")
        return "\n".join(said)

    def activate(self) -> str:
        committed = self.leader.activate()
        allowed = "goes on" if self.leader.allowed_to_commit else "commits nothing more"
        return f"commits {show_all(p.zxid for p in committed)}, {allowed}"

    def complete(self) -> str:
        self.leader.complete()
        return f"in force {sorted(self.leader.config.voters)}"

    def alive(self, sids: str) -> str:
        return "goes on" if self.leader.keeps_quorum(ids(sids)) else "lost its quorum"

    def request(
        self, joining: str = "", leaving: str = "", members: str = "", version: str = "-1", synced: str = "1,2,3"
    ) -> str:
        """``joining`` and ``members`` as configurations are listed; what comes of it."""
        join = (
            ",".join(line_ for line_ in listed(joining).text().splitlines() if "server" in line_) if joining else None
        )
        new = ",".join(line_ for line_ in listed(members).text().splitlines() if "server" in line_) if members else None
        request = ReconfigRequest(join, leaving or None, new, int(version))
        leader = self.leader
        found = next_config(request, zx("1.77"), leader.config, leader.last_seen, ids(synced), voters_min=2)
        return f"voters {sorted(found.voters)}, observers {sorted(found.observers)}, version {found.version:#x}"

    def raw(self, sid: str, text: str, synced: str = "1,2,3") -> str:
        """A request to join, as it was written."""
        request = ReconfigRequest(f"server.{sid}={text}", None, None, -1)
        found = next_config(request, 9, self.leader.config, self.leader.last_seen, ids(synced), voters_min=2)
        return f"voters {sorted(found.voters)}"

    def asked(self, joining: str) -> str:
        """A request to join, word for word, with ``~`` for the equals signs."""
        request = ReconfigRequest(joining.replace("~", "="), None, None, -1)
        found = next_config(request, 9, self.leader.config, self.leader.last_seen, [1, 2, 3], voters_min=2)
        return f"voters {sorted(found.voters)}"

    def read(self, *lines: str) -> str:
        """A configuration as another peer wrote it, with ``~`` for the equals signs; ``N`` is the server line of N."""
        texts = [line(int(word)) if word.isdigit() else word.replace("~", "=") for word in lines]
        found = parse_config("\n".join(texts))
        return f"voters {sorted(found.voters)}, version {found.version:#x}"

    def means(self, me: str, old: str, new: str, leader: str = "1", designated: str = "") -> str:
        """What an activation means for peer ``me``."""
        newer = QuorumConfig(listed(new).members.values(), 1)
        found = outcome(int(me), int(leader), listed(old), newer, int(designated) if designated else None)
        if not found.ends_role:
            return "stays"
        return "looks for a leader" if found.next_leader is None else f"goes to {found.next_leader}"


@pytest.mark.parametrize("path", scripts("reconfig"), ids=lambda path: path.stem)
def test_script(path: Path, request: pytest.FixtureRequest) -> None:
    run_script(path, Stage().run, rewrite=request.config.getoption("--rewrite"))


HOSTS = st.sampled_from(["10.0.0.1", "zoo-1.example.org", "[::1]", "[2001:db8::1]"])
PORTS = st.integers(1, 65535)


@st.composite
def members(draw: st.DrawFn) -> list[Member]:
    grouped = draw(st.booleans())
    found = []
    for sid in draw(st.sets(st.integers(0, 254), min_size=1, max_size=6)):
        host = draw(HOSTS)
        scheme = draw(st.sampled_from(["tcp", "ws"]))
        client = draw(st.none() | st.builds(f"{scheme}://{{}}:{{}}".format, HOSTS, PORTS))
        role = draw(st.sampled_from(["participant", "observer"]))
        voter = role == "participant"
        found.append(
            Member(
                sid,
                f"{scheme}://{host}:{draw(PORTS)}",
                f"{scheme}://{draw(st.just(host) | HOSTS)}:{draw(PORTS)}",
                client,
                role,  # type: ignore[arg-type]
                draw(st.integers(0, 9)) if grouped and voter else 1,
                draw(st.integers(0, 3)) if grouped and voter else None,
                draw(st.none() | st.builds("tls://{}:{}".format, HOSTS, PORTS)),
            )
        )
    return found


@given(members(), st.integers(0, 2**63 - 1))
def test_what_is_written_is_read(listed_members: list[Member], version: int) -> None:
    written = QuorumConfig(listed_members, version)
    read = parse_config(written.text())
    assert (read.members, read.version, read.text()) == (written.members, version, written.text())


@given(st.text(max_size=200) | st.text(alphabet="server.group=weightvion0123:|;,\n@/", max_size=200))
def test_anything_else_is_refused(text: str) -> None:
    try:
        found = parse_config(text)
    except ConfigError:
        return
    assert parse_config(found.text()).members == found.members


def test_upstreams_text_is_read() -> None:
    text = (
        "server.1=127.0.0.1:24111:24121:participant;127.0.0.1:24101\n"
        "server.4=127.0.0.1:24114:24124:observer;24104\nversion=10000000a"
    )
    found = parse_config(text)
    assert (sorted(found.voters), sorted(found.observers), found.version) == ([1], [4], 0x10000000A)
    assert found.members[4].client == "tcp://0.0.0.0:24104"


@pytest.mark.parametrize(
    ("line", "client", "secure"),
    [
        ("h:1:2;3;4", "tcp://0.0.0.0:3", "tls://0.0.0.0:4"),
        ("h:1:2:observer ; a:3 ; [::1]:4", "tcp://a:3", "tls://[::1]:4"),
        ("h:1:2;;a:4", None, "tls://a:4"),
        ("ws://h:1|ws://h:2:participant;ws://h:3;tls://a:4", "ws://h:3", "tls://a:4"),
    ],
)
def test_clients_by_tls(line: str, client: str | None, secure: str) -> None:
    member = parse_member(1, line)
    assert (member.client, member.secure_client) == (client, secure)


@pytest.mark.parametrize(
    "line", ["h:1:2;", "h:1:2;3;", "h:1:2;;", "h:1:2;3;4;5", "h:1:2;tls://a:3", "h:1:2;3;tcp://a:4"]
)
def test_no_clients(line: str) -> None:
    with pytest.raises(ConfigError):
        parse_member(1, line)


@example(old={1}, new={1, 2, 4}, acks=[(1, 2), (2, 3), (4, 3)])
@given(
    old=st.sets(st.integers(1, 6), min_size=1),
    new=st.sets(st.integers(1, 6), min_size=1),
    acks=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4)), max_size=40),
)
def test_committed_has_the_quorums_of_its_time(old: set[int], new: set[int], acks: list[tuple[int, int]]) -> None:
    """Against the definition: 1 needs the old, 2 (the change) both, what follows the new alone (§19.3)."""
    leader = Leader(1, config(*old), epoch=1)
    proposed = config(*new, version=zx("1.2"))
    for counter in (1, 2, 3, 4):
        leader.propose(zx(f"1.{counter}"), b"", None, proposed if counter == 2 else None)
    reached = dict.fromkeys(range(1, 7), 0)
    committed: list[int] = []
    for sid, counter in acks:
        committed += [p.zxid & 0xFF for p in leader.ack(sid, zx(f"1.{counter}"))]
        reached[sid] = max(reached[sid], counter)
        if leader.decided is not None:
            assert committed == [1]
            committed += [p.zxid & 0xFF for p in leader.activate()]
        assert committed == list(range(1, len(committed) + 1))
        for done in committed:
            holders = [sid for sid, upto in reached.items() if upto >= done]
            assert done > 2 or config(*old).contains_quorum(holders)
            assert done == 1 or proposed.contains_quorum(holders)
    if leader.allowed_to_commit:
        held = [n for n in (1, 2, 3, 4) if all(_held(c, reached, m) for m in range(1, n + 1) for c in _of(m, old, new))]
        assert committed == held


def _of(counter: int, old: set[int], new: set[int]) -> list[QuorumConfig]:
    return {1: [config(*old)], 2: [config(*old), config(*new)]}.get(counter, [config(*new)])


def _held(quorums: QuorumConfig, reached: dict[int, int], counter: int) -> bool:
    return quorums.contains_quorum([sid for sid, upto in reached.items() if upto >= counter])
