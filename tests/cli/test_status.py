"""``trioquorum status``: what it makes of the answers of peers, played here by little servers on loopback."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import open_stream_to_socket_listener
from typer.testing import CliRunner

from trioquorum import cli
from trioquorum.config import PeerSpec, quorum_config
from trioquorum.status import ANSWER_BYTES_MAX, EnsembleStatus, PeerStatus, Target, ask, look, targets_of
from trioquorum.transport import Address

SRVR = """\
Zookeeper version: 3.8.0-${mvngit.commit.id}, built on 2024-12-29 17:54 UTC
Latency min/avg/max: 0/4.4167/15
Received: 17
Sent: 18
Connections: 3
Outstanding: 0
Zxid: %s
Mode: %s
Node count: 8
"""
NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
NOT_ALLOWED = "%s is not executed because it is not in the whitelist.\n"

Answers = Mapping[str, str]


def serving(role: str, zxid: int, sessions: int = 2) -> Answers:
    return {
        "srvr": SRVR % (hex(zxid), role),
        "mntr": f"zk_version\t3.8.0\nzk_server_state\t{role}\nzk_global_sessions\t{sessions}\n",
    }


LOOKING: Answers = {"srvr": NOT_SERVING, "mntr": NOT_SERVING}


@asynccontextmanager
async def peers(*answers: Answers | None) -> AsyncIterator[list[Address]]:
    """Four-letter servers that answer so; None is a port where nobody listens."""

    async def answer(said: Answers, stream: trio.SocketStream) -> None:
        async with stream:
            word = b""
            while len(word) < 4:
                word += await stream.receive_some(4 - len(word))
            await stream.send_all(said.get(word.decode(), NOT_ALLOWED % word.decode()).encode())

    async with trio.open_nursery() as nursery:
        addresses: list[Address] = []
        for said in answers:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            addresses.append(Address("tcp", "127.0.0.1", listener.socket.getsockname()[1]))
            if said is None:
                await listener.aclose()
            else:
                await nursery.start(trio.serve_listeners, partial(answer, said), [listener])
        yield addresses
        nursery.cancel_scope.cancel()


async def look_at(*answers: Answers | None) -> EnsembleStatus:
    async with peers(*answers) as addresses:
        return await look([Target(client=address) for address in addresses])


async def test_a_healthy_ensemble() -> None:
    found = await look_at(
        serving("follower", 0x100000003), serving("leader", 0x100000007, 5), serving("observer", 0x100000007)
    )
    assert found.quorum
    assert [(p.role, p.epoch, p.zxid, p.lag, p.sessions, p.problem) for p in found.peers] == [
        ("follower", 1, "0x100000003", 4, 2, None),
        ("leader", 1, "0x100000007", 0, 5, None),
        ("observer", 1, "0x100000007", 0, 2, None),
    ]


async def test_a_peer_in_an_older_epoch_lags_by_the_new_one_at_least() -> None:
    found = await look_at(serving("leader", 0x200000004), serving("follower", 0x1000000FF))
    assert [peer.lag for peer in found.peers] == [0, 4]


async def test_a_minority_is_no_quorum() -> None:
    found = await look_at(serving("leader", 0x100000001), LOOKING, None)
    assert not found.quorum
    assert [(p.role, p.problem) for p in found.peers] == [
        ("leader", None),
        ("not serving", "looks for a leader"),
        ("unreachable", "nobody answers"),
    ]


async def test_followers_without_a_leader_are_no_quorum() -> None:
    found = await look_at(serving("follower", 0x100000001), serving("follower", 0x100000001))
    assert not found.quorum
    assert [peer.lag for peer in found.peers] == [None, None]


async def test_observers_are_no_voters() -> None:
    found = await look_at(
        serving("leader", 0x100000001), serving("observer", 0x100000001), serving("observer", 0x100000001)
    )
    assert found.quorum


async def test_two_leaders_are_noticed() -> None:
    found = await look_at(
        serving("leader", 0x100000009), serving("leader", 0x200000001), serving("follower", 0x200000001)
    )
    assert [p.problem for p in found.peers] == ["is a leader beside the leader of epoch 2", None, None]


def conf(sid: int, config: str) -> dict[str, str]:
    return {"conf": f"clientPort=1\nserverId={sid}\nmembership: \n{config}"}


async def test_the_ensemble_says_who_its_members_are() -> None:
    """One peer is asked; it names another, of which the file of members says nothing, and leaves out a third."""
    leader: dict[str, str] = {}
    joined, gone = dict(serving("follower", 0x100000007)), dict(serving("follower", 0x100000002))
    async with peers(leader, joined, gone) as addresses:
        lines = [
            f"server.{sid}=127.0.0.1:1:{sid}:{role};127.0.0.1:{address.port}"
            for sid, role, address in zip((1, 4), ("participant", "observer"), addresses, strict=False)
        ]
        leader |= dict(serving("leader", 0x100000007)) | conf(1, "\n".join([*lines, "version=100000005"]))
        gone |= conf(3, f"{lines[0]}\nserver.3=127.0.0.1:1:3:participant\nversion=0")
        found = await look([Target(client=addresses[2], id=3), Target(client=addresses[0])])
    assert [(p.id, p.role, p.member) for p in found.peers] == [
        (3, "follower", "no"),
        (1, "leader", "participant"),
        (4, "follower", "observer"),
    ]
    assert found.quorum


async def test_one_server_alone() -> None:
    assert (await look_at(serving("standalone", 7))).quorum
    assert not (await look_at(serving("standalone", 7), serving("standalone", 7))).quorum


async def test_a_server_that_allows_only_srvr() -> None:
    found = await look_at({"srvr": SRVR % ("0x5", "standalone"), "mntr": NOT_ALLOWED % "mntr"})
    assert (found.peers[0].role, found.peers[0].zxid, found.peers[0].sessions) == ("standalone", "0x5", None)


async def test_a_nearly_full_disk_is_a_problem() -> None:
    full = serving("leader", 1)
    full = {**full, "mntr": full["mntr"] + "zk_disk_nearly_full\t1\n"}
    fine = serving("follower", 1)
    fine = {**fine, "mntr": fine["mntr"] + "zk_disk_nearly_full\t0\n"}
    found = await look_at(full, fine)
    assert [peer.problem for peer in found.peers] == ["its disk is nearly full", None]
    assert found.quorum


@pytest.mark.parametrize(
    ("srvr", "problem"),
    [
        (NOT_ALLOWED % "srvr", "srvr answers: srvr is not executed because it is not in the whitelist."),
        ("", "srvr answers: nothing"),
        ("HTTP/1.1 400\r\n\r\n", "srvr answers: HTTP/1.1 400"),
    ],
)
async def test_a_server_that_says_something_else(srvr: str, problem: str) -> None:
    found = await look_at({"srvr": srvr, "mntr": ""})
    assert (found.peers[0].role, found.peers[0].problem) == ("unknown", problem)
    assert not found.quorum


def spec(peer: int, client: Address | None, *, group: int | None = None, weight: int = 1) -> PeerSpec:
    quorum, election = Address("tcp", "h", 2 * peer), Address("tcp", "h", 2 * peer + 1)
    return PeerSpec(id=peer, quorum=quorum, election=election, client=client, group=group, weight=weight)


async def test_weights_decide_where_there_are_any() -> None:
    async with peers(serving("leader", 1), LOOKING, LOOKING) as clients:
        specs = [spec(i, client, group=1, weight=3 if i == 1 else 1) for i, client in enumerate(clients, 1)]
        assert (await look(targets_of(specs), quorum_config(specs))).quorum
        specs = [spec(i, client) for i, client in enumerate(clients, 1)]
        assert not (await look(targets_of(specs), quorum_config(specs))).quorum


async def test_a_peer_that_cannot_be_asked() -> None:
    specs = [spec(1, None), spec(2, Address("ws", "127.0.0.1", 1))]
    found = await look(targets_of(specs), quorum_config(specs))
    assert [(p.id, p.role, p.problem) for p in found.peers] == [
        (1, "unknown", "no tcp client port to ask at"),
        (2, "unknown", "no tcp client port to ask at"),
    ]


def test_a_wildcard_is_reached_at_the_quorum_host() -> None:
    assert targets_of([spec(1, Address("tcp", "0.0.0.0", 2181))])[0].client == Address("tcp", "h", 2181)


async def ask_one(handler: Callable[[trio.SocketStream], Awaitable[object]], timeout_s: float) -> str | None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        (await open_stream_to_socket_listener(listeners[0])).socket.close()
        port = listeners[0].socket.getsockname()[1]
        answer = await ask(Address("tcp", "127.0.0.1", port), "ruok", timeout_s)
        nursery.cancel_scope.cancel()
    return answer


async def test_a_server_that_never_answers_costs_the_timeout_only() -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    assert await ask_one(silent, 0.05) is None


async def test_a_server_that_never_stops_talking_is_cut() -> None:
    async def talk(stream: trio.SocketStream) -> None:
        try:
            while True:
                await stream.send_all(b"x" * 65536)
        except trio.BrokenResourceError:
            return

    answer = await ask_one(talk, 10)
    assert answer is not None
    assert ANSWER_BYTES_MAX <= len(answer) < 2 * ANSWER_BYTES_MAX


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """Whom the command asked: all lead but the last, who is unreachable; two make a quorum."""
    asked: list[Target] = []

    async def pretend(targets: list[Target], ensemble: object = None) -> EnsembleStatus:
        await trio.lowlevel.checkpoint()
        asked.extend(targets)
        rows = [
            PeerStatus(id=t.id, address=str(t.client), role="leader", epoch=1, zxid="0x100000001", lag=0, sessions=2)
            for t in targets
        ]
        rows[-1].role, rows[-1].problem = "unreachable", "nobody answers"
        return EnsembleStatus(quorum=len(rows) > 1, peers=rows)

    monkeypatch.setattr(cli, "look", pretend)
    return asked


def test_the_command_prints_a_table(found: list[Target]) -> None:
    result = CliRunner().invoke(cli.app, ["status", "--hosts", "a:1, [::1]:2,b,[::2]"])
    assert result.exit_code == 0
    assert [str(target.client) for target in found] == [
        "tcp://a:1",
        "tcp://[::1]:2",
        "tcp://b:2181",
        "tcp://[::2]:2181",
    ]
    lines = result.output.splitlines()
    assert lines[0].split() == ["id", "address", "role", "member", "epoch", "zxid", "lag", "sessions", "problem"]
    assert lines[1].split() == ["a:1", "leader", "1", "0x100000001", "0", "2"]
    assert "unreachable" in lines[4]
    assert lines[4].rstrip().endswith("nobody answers")
    assert lines[5] == "quorum: yes"


def test_without_a_quorum_the_exit_code_says_so(found: list[Target]) -> None:
    result = CliRunner().invoke(cli.app, ["status"])
    assert result.exit_code == 1
    assert [str(target.client) for target in found] == ["tcp://127.0.0.1:2181"]
    assert "quorum: no" in result.output


def test_json(found: list[Target]) -> None:
    result = CliRunner().invoke(cli.app, ["status", "--hosts", "a,b", "--json"])
    assert [str(target.client) for target in found] == ["tcp://a:2181", "tcp://b:2181"]
    data = json.loads(result.output)
    assert data["quorum"] is True
    assert data["peers"][1]["problem"] == "nobody answers"


def test_peers_file(found: list[Target], tmp_path: Path) -> None:
    file = tmp_path / "peers.toml"
    file.write_text('[[peer]]\nid = 4\nquorum = "tcp://h:1"\nelection = "tcp://h:2"\nclient = "tcp://h:3"\n')
    assert CliRunner().invoke(cli.app, ["status", "--peers", str(file)]).exit_code == 1
    assert found == [Target(client=Address("tcp", "h", 3), id=4)]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--peers", "nowhere.toml"], "nowhere.toml: there is no such file; create it or name another one"),
        (["--peers", "a", "--hosts", "b"], "--peers and --hosts both say whom to ask; give one of them"),
        (["--hosts", "a:99999"], "'tcp://a:99999' is not an address: Port out of range 0-65535"),
    ],
)
def test_a_mistake_is_one_line(options: list[str], line: str) -> None:
    result = CliRunner().invoke(cli.app, ["status", *options])
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"trioquorum: {line}\n")


def test_colours() -> None:
    def row(**facts: object) -> PeerStatus:
        return PeerStatus(**({"id": 1, "address": "a", "role": "follower"} | facts))  # type: ignore[arg-type]

    assert cli._colour(row()) == ""
    assert cli._colour(row(role="leader")) == "bold green"
    assert cli._colour(row(lag=cli.LAG_SHOWN + 1)) == "yellow"
    assert cli._colour(row(role="not serving", problem="looks for a leader")) == "yellow"
    assert cli._colour(row(role="unreachable", problem="nobody answers")) == "red"
    assert cli._colour(row(role="leader", problem="is a leader beside the leader of epoch 2")) == "red"
