"""Every reply shows the one tree there was at its zxid, and every write did what its reply says."""

from collections.abc import Iterable
from typing import Any, Final

from trioquorum.errors import Code
from trioquorum.invariants import invariant
from trioquorum.testing.checkers import read_only
from trioquorum.testing.checkers.requests import SEQUENTIAL, WRITES, Part, parts_of_call
from trioquorum.testing.history import Call, History
from trioquorum.testing.model import OWN_PATHS, Model, Znode, parent, parts_of
from trioquorum.testing.truth import Truth
from trioquorum.wire.client import decode_path_watch
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Stat
from trioquorum.wire.txn import (
    CheckVersionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    Txn,
)

READS: Final = frozenset({Op.EXISTS, Op.GET_DATA, Op.GET_CHILDREN, Op.GET_CHILDREN2})


def check(history: History, truth: Truth) -> None:
    """One pass over the transactions, each call looked at where its zxid is.

    Raises:
        InvariantViolation: an acknowledged write is not there or did something else, a refused one changed something
            or was refused for no reason, a read shows what never was at its zxid.
    """
    writes: dict[int, Call] = {}
    reads: list[Call] = []
    for call in history.all_calls():
        if call.read_only and not read_only.shows_history(call, truth):
            continue
        if call.zxid is not None and call.op in READS:
            reads.append(call)
        elif call.op in WRITES:
            txn = truth.by_request.get((call.session, call.xid))
            _find(call, txn)
            if txn is not None:
                writes[txn.header.zxid] = call
    reads.sort(key=lambda call: call.zxid or 0)
    at = 0
    for txn, model in truth.replay():
        zxid = txn.header.zxid
        at = _check_reads(reads, at, zxid, model)
        write = writes.get(zxid)
        if write is None:
            model.apply(txn)
            continue
        asked = parts_of_call(write)
        _justify(write, asked, txn, model)
        before = [_version(model, part.path) for part in asked]
        model.apply(txn)
        _did_as_asked(write, asked, txn, before)
        if write.succeeded:
            _answered_as_done(write, txn, model)
    _check_reads(reads, at, 1 << 63, truth.model)


def _find(call: Call, txn: Txn | None) -> None:
    """An answered write has a transaction of its zxid, and an error for an error."""
    if call.zxid is None:
        return
    facts: dict[str, Any] = {"client": call.client, "session": call.session, "xid": call.xid, "op": call.op.name}
    if call.failed and txn is None:
        # Refused without a place in the order; what must not be is a change.
        return
    committed = txn and txn.header.zxid
    invariant(
        committed == call.zxid, "a write that was answered is committed", **facts, told=call.zxid, committed=committed
    )
    assert txn is not None
    found = txn.record.err if isinstance(txn.record, ErrorTxn) else 0
    told = call.error or 0
    invariant(found == told, "a write is answered as it went", **facts, zxid=call.zxid, told=told, committed=found)


# Reads


def _check_reads(reads: list[Call], at: int, before: int, model: Model) -> int:
    while at < len(reads) and (reads[at].zxid or 0) < before:
        _check_read(reads[at], model)
        at += 1
    return at


def _check_read(call: Call, model: Model) -> None:
    path, _ = decode_path_watch(call.body)
    if path.startswith(OWN_PATHS):
        return
    node = model.nodes.get(path)
    seen = _seen(call)
    there = _there(call, node)
    invariant(
        seen == there,
        "a read shows the tree at its zxid",
        client=call.client,
        op=call.op.name,
        path=path,
        zxid=call.zxid,
        seen=seen,
        there=there,
    )


def _seen(call: Call) -> object:
    if call.error is not None:
        return call.error
    result = call.result
    match call.op:
        case Op.EXISTS:
            return result.stat
        case Op.GET_DATA:
            return result.data, result.stat
        case Op.GET_CHILDREN:
            return sorted(result.children or [])
    return sorted(result.children or []), result.stat


def _there(call: Call, node: Znode | None) -> object:
    if node is None:
        return Code.NONODE
    match call.op:
        case Op.EXISTS:
            return node.stat()
        case Op.GET_DATA:
            return node.data, node.stat()
        case Op.GET_CHILDREN:
            return sorted(node.children)
    return sorted(node.children), node.stat()


# Writes


def _version(model: Model, path: str) -> int:
    node = model.nodes.get(path)
    return -1 if node is None else node.version


def _did_as_asked(call: Call, asked: list[Part], txn: Txn, before: list[int]) -> None:
    """A committed transaction is what its client asked for: all of it, in its order, or an error."""
    done = [record for _, record in parts_of(txn)]
    if call.op == Op.CLOSE_SESSION or not done:
        return
    facts: dict[str, Any] = {"client": call.client, "xid": call.xid, "zxid": txn.header.zxid}
    invariant(len(done) == len(asked), "all of a multi or nothing", **facts, asked=len(asked), done=len(done))
    changed: set[str] = set()
    for part, record, version in zip(asked, done, before, strict=True):
        invariant(_matches(part, record), "what is done was asked for", **facts, asked=part, done=record)
        if part.version != -1 and part.path not in changed:
            invariant(
                part.version == version or part.op == Op.SET_ACL,
                "compare-and-set compares",
                **facts,
                path=part.path,
                expected=part.version,
                had=version,
            )
        changed.add(part.path)


def _matches(part: Part, record: Record) -> bool:
    match record:
        case CreateTxn() | CreateTtlTxn() | CreateContainerTxn():
            own = record.path
            named = own[:-10] == part.path if part.flags in SEQUENTIAL else own == part.path
            return named and record.data == part.data
        case SetDataTxn(path=path, data=data):
            return part.op == Op.SET_DATA and path == part.path and data == part.data
        case DeleteTxn(path=path):
            return part.op == Op.DELETE and path == part.path
        case CheckVersionTxn(path=path):
            return part.op == Op.CHECK and path == part.path
        case SetAclTxn(path=path):
            return part.op == Op.SET_ACL and path == part.path
    return False


def _answered_as_done(call: Call, txn: Txn, model: Model) -> None:
    """The reply of a success names the path that was made and the Stat that came out."""
    results: Iterable[Any] = call.result if call.op == Op.MULTI else [call.result]
    codes = [result for result in results if isinstance(result, Code) and result is not Code.OK]
    records = [record for _, record in parts_of(txn)]
    facts: dict[str, Any] = {"client": call.client, "op": call.op.name, "xid": call.xid, "zxid": call.zxid}
    if codes:
        invariant(not records, "a multi that failed changed nothing", **facts, told=codes, done=len(records))
        return
    last = {getattr(record, "path", ""): index for index, record in enumerate(records)}
    for index, (record, result) in enumerate(zip(records, results, strict=call.op == Op.MULTI)):
        path = getattr(record, "path", None)
        told = getattr(result, "path", result if isinstance(result, str) else None)
        if told is not None:
            invariant(told == path, "a create is told its path", **facts, told=told, made=path)
        stat = result if isinstance(result, Stat) else getattr(result, "stat", None)
        node = model.nodes.get(path or "")
        if stat is not None and node is not None and last.get(path or "") == index and call.op != Op.MULTI:
            there = node.stat()
            invariant(stat == there, "a write is told the Stat it made", **facts, path=path, told=stat, made=there)


def _refused(asked: list[Part], txn: Txn) -> tuple[Part, int] | None:
    """The part that made a request fail, and with which error; None where parts in front of it may be the reason."""
    if isinstance(txn.record, ErrorTxn):
        return (asked[0], txn.record.err) if len(asked) == 1 else None
    if not isinstance(txn.record, MultiTxn):
        return None
    for at, part in enumerate(txn.record.txns or []):
        code = ErrorTxn.decode(part.data or b"").err if part.type == Op.ERROR else Code.OK
        if code != Code.OK and at < len(asked):
            made = {other.path for other in asked[:at]}
            around = made | {parent(path) for path in made}
            own = asked[at].path
            return None if own in around or parent(own) in made else (asked[at], code)
    return None


def _justify(call: Call, asked: list[Part], txn: Txn, model: Model) -> None:
    """A refusal has its reason in the tree right in front of it."""
    refused = _refused(asked, txn)
    if refused is None:
        return
    part, code = refused
    node, above = model.nodes.get(part.path), model.nodes.get(parent(part.path))
    creates = part.op not in (Op.SET_DATA, Op.DELETE, Op.SET_ACL, Op.CHECK)
    match code:
        case Code.NONODE:
            right = above is None if creates else node is None
        case Code.NODEEXISTS:
            right = creates and node is not None
        case Code.BADVERSION:
            right = node is not None and part.version not in (
                -1,
                node.aversion if part.op == Op.SET_ACL else node.version,
            )
        case Code.NOTEMPTY:
            right = node is not None and bool(node.children)
        case Code.NOCHILDRENFOREPHEMERALS:
            right = above is not None and bool(above.owner)
        case _:
            return
    invariant(
        right,
        "a write is refused for a reason",
        client=call.client,
        op=part.op.name,
        path=part.path,
        zxid=txn.header.zxid,
        told=Code(code).name,
        there=node and node.stat(),
    )
