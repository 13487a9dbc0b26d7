"""Conversations recorded from Apache ZooKeeper 3.8: the client sends the same bytes and reads the same answers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, strategies as st

from tests.client.kit import Server, play
from trioquorum.client import Client, WatchEvent, connect
from trioquorum.client.core import Core, Fired, Request, State, StateChanged, nothing
from trioquorum.client.transaction import decode_results
from trioquorum.client.watches import Table
from trioquorum.errors import RequestFailed, TransactionFailed
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl, Stat, WhoAmIResponse

RECORDED = Path(__file__).parent / "recorded"
Frame = dict[str, Any]
TABLES = {"exists": Table.DATA, "getData": Table.DATA, "getChildren": Table.CHILD, "getChildren2": Table.CHILD}


def load(name: str) -> list[Frame]:
    return [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]


def turns(frames: list[Frame]) -> Iterator[tuple[Frame, list[Frame]]]:
    """Each client frame with the server frames up to the next one."""
    starts = [i for i, frame in enumerate(frames) if frame["dir"] == "c2s"]
    for i, at in enumerate(starts):
        yield frames[at], frames[at + 1 : starts[i + 1] if i + 1 < len(starts) else len(frames)]


def buffer(field: dict[str, str] | None) -> bytes | None:
    return None if field is None else bytes.fromhex(field["hex"])


def acl(field: list[dict[str, Any]]) -> list[Acl]:
    return [Acl(entry["perms"], entry["id"]["scheme"], entry["id"]["id"]) for entry in field]


def stat(field: dict[str, int]) -> Stat:
    names = {"ephemeral_owner": "ephemeralOwner", "data_length": "dataLength", "num_children": "numChildren"}
    return Stat(*(field[names.get(name, name)] for name in Stat.__struct_fields__))


def create_options(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": buffer(fields["data"]),
        "acl": acl(fields["acl"]),
        "ephemeral": bool(fields["flags"] & 1),
        "sequence": bool(fields["flags"] & 2),
    }


async def ask(client: Client, frame: Frame, watch: Callable[[WatchEvent], object]) -> Any:
    """Make the call that the recorded request stands for."""
    decoded = frame["decoded"]
    op = decoded["op"]
    fields: dict[str, Any] = decoded.get(decoded.get("record", ""), {})
    match op:
        case "create" | "create2":
            return await getattr(client, op)(fields["path"], **create_options(fields))
        case "exists" | "getData" | "getChildren" | "getChildren2":
            names = {"getData": "get", "getChildren": "get_children", "getChildren2": "get_children2"}
            return await getattr(client, names.get(op, op))(fields["path"], watch if fields["watch"] else None)
        case "getACL":
            return await client.get_acl(fields["path"])
        case "auth":
            return await client.add_auth(fields["scheme"], buffer(fields["auth"]) or b"")
        case "whoAmI":
            return await client.call(Op.WHO_AM_I, b"", WhoAmIResponse.decode_from)
        case "multi":
            return await ask_multi(client, frame)
        case "closeSession":
            return await client.close()
    raise AssertionError(op)


async def ask_multi(client: Client, frame: Frame) -> Any:
    parts = [part for part in frame["decoded"]["ops"] if not part["header"]["done"]]
    if any(part["op"] == "create2" for part in parts):  # the client makes none; the reply is worth reading
        return await client.call(Op.MULTI, bytes.fromhex(frame["hex"])[12:], decode_results)
    transaction = client.transaction()
    for part in parts:
        body = part["body"]
        match part["op"]:
            case "create":
                transaction.create(body["path"], **create_options(body))
            case "delete":
                transaction.delete(body["path"], body["version"])
            case "setData":
                transaction.set(body["path"], buffer(body["data"]), body["version"])
            case "check":
                transaction.check(body["path"], body["version"])
    return await transaction.commit()


def told(decoded: Frame) -> Any:
    """What the caller must get for a recorded reply, by the recorder's own decoder."""
    if decoded["op"] == "multi":
        results = [result for result in decoded["results"] if not result["header"]["done"]]
        if any(result["header"]["type"] == -1 for result in results):
            return TransactionFailed, [result["body"]["err"] for result in results]
        bodies = [result["body"] or {} for result in results]
        return [stat(body["stat"]) if "stat" in body and "path" not in body else body.get("path") for body in bodies]
    if decoded["ReplyHeader"]["err"]:
        return None if decoded["op"] == "exists" else (RequestFailed, decoded["ReplyHeader"]["err"])
    body = decoded.get(decoded.get("record", ""), {})
    parts: list[Any] = []
    for name, value in body.items():
        reading: dict[str, Callable[[Any], Any]] = {"data": buffer, "stat": stat, "acl": acl}
        parts.append(reading.get(name, lambda same: same)(value))
    if decoded["op"] == "whoAmI":
        return [(one["authScheme"], one["user"]) for one in body["clientInfo"]]
    return (parts[0] if len(parts) == 1 else tuple(parts)) if parts else None


async def replay(server: Server, frames: list[Frame]) -> None:
    conversation = await server.accept()
    for request, answers in turns(frames):
        sent = await conversation.frame()
        # The recorder wrote characters beyond U+FFFF in four bytes; Java's client, and ours, write two surrogates.
        if max(json.dumps(request["decoded"], ensure_ascii=False)) <= "\uffff":
            assert sent.hex() == request["hex"], request["decoded"]
        await conversation.send(b"".join(bytes.fromhex(answer["hex"]) for answer in answers))
    if frames[-1]["decoded"].get("op") != "closeSession":
        await conversation.close_session()


@pytest.mark.parametrize("name", ["create", "watch_oneshot", "multi", "acl_auth"])
def test_calls_make_and_read_the_recorded_bytes(name: str) -> None:
    frames = load(name)
    log: list[Any] = []
    expected: list[Any] = []
    timeout_ms = frames[0]["decoded"]["ConnectRequest"]["timeOut"]

    def watch(event: WatchEvent) -> None:
        log.append((event.type, event.path))

    async def use(server: Server) -> None:
        async with connect(server.dial, session_timeout_ms=timeout_ms) as client:
            answer = frames[1]["decoded"]["ConnectResponse"]
            assert (client.session, client.session_timeout_ms) == (answer["sessionId"], answer["timeOut"])
            for request, answers in list(turns(frames))[1:]:
                for answer in (frame["decoded"] for frame in answers):
                    if answer["op"] == "notification":
                        expected.append((answer["WatcherEvent"]["type"], answer["WatcherEvent"]["path"]))
                    else:
                        expected.append(told(answer))
                try:
                    got = await ask(client, request, watch)
                    if isinstance(got, WhoAmIResponse):
                        got = [(one.scheme, one.user) for one in got.clients or []]
                    log.append(got)
                except TransactionFailed as error:
                    log.append((TransactionFailed, error.codes))
                except RequestFailed as error:
                    log.append((RequestFailed, error.code))
                while len(log) < len(expected):
                    await anyio.sleep(0.001)
        assert client.last_zxid == max(
            frame["decoded"]["ReplyHeader"]["zxid"] for frame in frames[2:] if frame["dir"] == "s2c"
        )

    async def serve(server: Server) -> None:
        await replay(server, frames)

    play("trio", serve, use)
    assert log == expected
    assert len(expected) >= 3


def test_a_recorded_session_begins_pings_and_ends() -> None:
    frames = [bytes.fromhex(frame["hex"]) for frame in load("session_new")]
    core = Core(6_000)
    assert core.hello() == frames[0]
    assert list(core.feed(frames[1])) == [StateChanged(State.CONNECTED)]
    assert (core.session, core.timeout_ms) == (0x1000042C6BE0000, 6_000)
    assert core.password.hex() == "60f332f86d116fdd3e256f50fed792c9"
    core.ping()
    assert core.take_output() == frames[2]
    assert list(core.feed(frames[3])) == []
    closing = Request(Op.CLOSE_SESSION, b"", nothing)
    core.submit(closing)
    assert core.take_output() == frames[4]
    assert list(core.feed(frames[5])) == [closing, StateChanged(State.CLOSED)]
    assert core.state is State.CLOSED


@given(st.lists(st.integers(1, 60), min_size=1, max_size=200))
def test_how_the_bytes_are_cut_changes_nothing(sizes: list[int]) -> None:
    """All of a session at once, against the same in pieces."""
    frames = load("watch_oneshot")
    stream = b"".join(bytes.fromhex(frame["hex"]) for frame in frames if frame["dir"] == "s2c")

    def effects(pieces: list[int]) -> list[Any]:
        core = Core(10_000)
        core.hello()
        head = 41  # the handshake's answer: requests can be made only after it
        seen: list[Any] = list(core.feed(stream[:head]))
        for frame in frames:
            decoded = frame["decoded"]
            if frame["dir"] == "c2s" and "op" in decoded:
                watch = None
                fields = decoded.get(decoded.get("record", ""), {})
                body = bytes.fromhex(frame["hex"])[12:]
                if fields.get("watch"):
                    watch = (TABLES[decoded["op"]], fields["path"], str)
                core.submit(Request(Op(decoded["RequestHeader"]["type"]), body, nothing, watch))
        at = head
        for size in [*pieces, len(stream)]:
            for effect in core.feed(stream[at : at + size]):
                if isinstance(effect, Request):
                    seen.append((effect.xid, effect.error))
                else:
                    seen.append(effect)
            at += size
        return seen

    whole = effects([])
    assert effects(sizes) == whole
    assert sum(isinstance(effect, Fired) for effect in whole) == 10
