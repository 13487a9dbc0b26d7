"""Where the two are meant to differ: ``deviations.toml`` has the reasons, here is what each rule means exactly."""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.interop.differential.steps import RECORDS, SET_WATCHES, Request, Say, Step
from trioquorum.errors import Code, PeerProtocolError
from trioquorum.tree.paths import CONFIG
from trioquorum.wire.client import decode_multi, decode_multi_read
from trioquorum.wire.jute import Record, Text
from trioquorum.wire.ops import CreateFlag, Op
from trioquorum.wire.records import (
    Acl,
    CreateRequest,
    CreateTtlRequest,
    PathTypeRequest,
    PathWatchRequest,
    ReconfigRequest,
    SaslToken,
    SetAclRequest,
    SetWatches,
    SetWatches2,
)

TABLE: Final[dict[str, list[dict[str, str]]]] = tomllib.loads(
    Path(__file__).with_name("deviations.toml").read_text(encoding="utf-8")
)

_CREATES: Final = (Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER)
_FLAGS: Final = frozenset(CreateFlag)
_TTL_FLAGS: Final = (CreateFlag.PERSISTENT_WITH_TTL, CreateFlag.PERSISTENT_SEQUENTIAL_WITH_TTL)
_CONFIG_MTIME: Final = re.compile(r"\(0, 'now'\)(?=, 'versions': \(-1, )")  # no other node has such a version
_MODES: Final = {"persistent": "persistent", "recursive": "recursive"}

Answer = Any
Modes = Mapping[Text, str]
"""Path → how a client watched it first: once, persistent or recursive."""


def not_sent(request: Request, modes: Modes) -> str | None:
    """The rule by which this request is not compared. ``modes``: how its client has watched paths so far."""
    return next((row["rule"] for row in TABLE["not_sent"] if _NOT_SENT[row["rule"]](request, modes)), None)


def watched(request: Request) -> list[tuple[Text, str]]:
    """The paths that a request watches, if it succeeds, and how."""
    try:
        if request.op in (Op.EXISTS, Op.GET_DATA, Op.GET_CHILDREN, Op.GET_CHILDREN2):
            read = PathWatchRequest.decode(request.body)
            return [(read.path, "once")] if read.watch else []
        if request.op == Op.ADD_WATCH:
            asked = PathTypeRequest.decode(request.body)
            return [(asked.path, "recursive" if asked.type else "persistent")]
        if request.op in SET_WATCHES:
            again = (SetWatches2 if request.op == Op.SET_WATCHES2 else SetWatches).decode(request.body)
            return [
                (path, _MODES.get(name, "once"))
                for name in again.__struct_fields__[1:]
                for path in getattr(again, name) or ()
            ]
    except PeerProtocolError:
        pass
    return []


def second_mode(request: Request, modes: Modes) -> bool:
    """Also twice in one request."""
    asked = watched(request)
    return len(set(asked)) > len({path for path, _ in asked}) or any(modes.get(path, how) != how for path, how in asked)


def type_of_persistent(request: Request, modes: Modes) -> bool:
    """Types that 3.8 takes for all modes, or that it does not know and so removes nothing."""
    asked = _watcher(request)
    types = (1, 2) if request.op == Op.CHECK_WATCHES else (1, 2, 4, 5)
    return asked is not None and asked.type in types and modes.get(asked.path, "once") != "once"


def _watcher(request: Request) -> PathTypeRequest | None:
    """What a checkWatches or removeWatches is about."""
    if request.op not in (Op.CHECK_WATCHES, Op.REMOVE_WATCHES):
        return None
    try:
        return PathTypeRequest.decode(request.body)
    except PeerProtocolError:
        return None


def mode_mismatch(request: Request, _: Modes) -> bool:
    """Alone or as a part of a multi."""
    return any(_mismatch(op, record, multi=request.op == Op.MULTI) for op, record in _parts(request))


def _parts(request: Request) -> list[tuple[int, Record]]:
    try:
        if request.op == Op.MULTI:
            return decode_multi(request.body)
        if request.op == Op.MULTI_READ:
            return decode_multi_read(request.body)
        if request.op in _CREATES:
            return [(request.op, CreateRequest.decode(request.body))]
        if request.op == Op.CREATE_TTL:
            return [(request.op, CreateTtlRequest.decode(request.body))]
        if request.op == Op.SET_ACL:
            return [(request.op, SetAclRequest.decode(request.body))]
    except PeerProtocolError:
        pass
    return []


def _mismatch(op: int, record: Record, *, multi: bool) -> bool:
    if isinstance(record, CreateTtlRequest):
        return record.flags not in _TTL_FLAGS
    if isinstance(record, CreateRequest):
        if multi:  # where flags alone tell a container
            return record.flags in _TTL_FLAGS
        return (op == Op.CREATE_CONTAINER) != (record.flags == CreateFlag.CONTAINER)
    return False


def unknown_flags_in_multi(request: Request, _: Modes) -> bool:
    """Of any create."""
    creates = [it for _, it in _parts(request) if isinstance(it, CreateRequest | CreateTtlRequest)]
    return request.op == Op.MULTI and any(it.flags not in _FLAGS for it in creates)


def negative_count(request: Request, _: Modes) -> bool:
    """Of any vector."""
    try:
        if request.op in RECORDS:
            RECORDS[request.op].decode(request.body)
        elif request.op == Op.MULTI:
            decode_multi(request.body)
    except PeerProtocolError as error:
        return str(error).startswith("vector of -")
    return False


def broken_reconfig(request: Request, _: Modes) -> bool:
    """One that cannot be read."""
    try:
        if request.op == Op.RECONFIG:
            ReconfigRequest.decode(request.body)
    except PeerProtocolError:
        return True
    return False


def watch_without_path(request: Request, _: Modes) -> bool:
    """Set, removed or asked for."""
    asked = _watcher(request)
    if asked is None:
        return any(path is None for path, _ in watched(request))
    return asked.path is None or (request.op == Op.CHECK_WATCHES and not asked.path.startswith("/"))


def ipv6_acl(request: Request, _: Modes) -> bool:
    """In any create or setACL."""
    return any(":" in (entry.id or "") for entry in _entries(request) if entry.scheme == "ip")


def null_among_others(request: Request, _: Modes) -> bool:
    """Or twice."""
    entries = _entries(request)
    return len(entries) > 1 and any(entry.scheme is None or entry.id is None for entry in entries)


def null_in_multi(request: Request, _: Modes) -> bool:
    """Whichever part."""
    return request.op in (Op.MULTI, Op.MULTI_READ) and (
        any(entry.scheme is None or entry.id is None for entry in _entries(request))
        or any(getattr(record, "path", "") is None for _, record in _parts(request))
    )


def _entries(request: Request) -> list[Acl]:
    records = [record for _, record in _parts(request)]
    return [
        entry
        for record in records
        if isinstance(record, CreateRequest | CreateTtlRequest | SetAclRequest)
        for entry in record.acl or ()
    ]


def check_alone(request: Request, _: Modes) -> bool:
    """Failures are not answered alike either: the opcode ends the connection here."""
    return request.op == Op.CHECK


def delete_container(request: Request, _: Modes) -> bool:
    """Whatever its path."""
    return request.op == Op.DELETE_CONTAINER


def broken_token(request: Request, _: Modes) -> bool:
    """Any other token proves nothing on both sides."""
    try:
        return request.op == Op.SASL and SaslToken.decode(request.body).token is None
    except PeerProtocolError:
        return True


def create_session(request: Request, _: Modes) -> bool:
    """Whatever its body."""
    return request.op == Op.CREATE_SESSION


_NOT_SENT: Final[dict[str, Callable[[Request, Modes], bool]]] = {
    rule.__name__: rule
    for rule in (
        mode_mismatch,
        check_alone,
        delete_container,
        create_session,
        broken_token,
        ipv6_acl,
        broken_reconfig,
        negative_count,
        watch_without_path,
        unknown_flags_in_multi,
        null_among_others,
        null_in_multi,
        second_mode,
        type_of_persistent,
    )
}


def event_zxid(step: Step, java: Answer, ours: Answer) -> bool:
    """Nothing but the zxid differs."""
    del step
    return bool(java[0] == "event" == ours[0] and java[1] == -1 and (*java[:1], *java[2:]) == (*ours[:1], *ours[2:]))


def null_id(step: Step, java: Answer, ours: Answer) -> bool:
    """Both fail, and the request has such an entry."""
    if not isinstance(step, Say) or java[0] != "reply" or java[4] != Code.MARSHALLINGERROR:
        return False
    entries = [entry for request in step.requests if request.op == java[1] for entry in _entries(request)]
    return _same_but_error(java, ours, Code.INVALIDACL) and any(it.scheme is None or it.id is None for it in entries)


def watcher_type(step: Step, java: Answer, ours: Answer) -> bool:
    """What ours says is checked elsewhere."""
    if not isinstance(step, Say) or java[0] != "reply" or java[1] not in (Op.CHECK_WATCHES, Op.REMOVE_WATCHES):
        return False
    types = {asked.type for request in step.requests if (asked := _watcher(request)) is not None}
    return java[4] == Code.MARSHALLINGERROR and bool(types & {4, 5}) and _same_but_error(java, ours, ours[4])


def unchecked_exists(step: Step, java: Answer, ours: Answer) -> bool:
    """What watch that leaves is taken away: see ``afterwards``. A barrier asks for the root, which may be closed."""
    del step
    if java[0] == "root":
        return java[2] == Code.OK and ours == ("root", java[1], Code.NOAUTH, "")
    return (
        java[0] == "reply" and java[1] == Op.EXISTS and java[4] == Code.OK and _same_but_error(java, ours, Code.NOAUTH)
    )


def failed_multi_read(step: Step, java: Answer, ours: Answer) -> bool:
    """Only as a whole."""
    del step
    return java[0] == "reply" and java[1] == Op.MULTI_READ and java[4] != Code.OK and (*java[:5], "") == ours


def config_mtime(step: Step, java: Answer, ours: Answer) -> bool:
    """Only in requests about that node."""
    about = isinstance(step, Say) and any(CONFIG.encode() in request.body for request in step.requests)
    return about and _CONFIG_MTIME.sub("(0, 0)", repr(java)) == repr(ours)


def afterwards(step: Step, rule: str) -> Step | None:
    """What both must do, so that a difference of this rule has no consequences."""
    if rule != "unchecked_exists" or not isinstance(step, Say):
        return None
    paths = [PathWatchRequest.decode(it.body).path for it in step.requests if it.op == Op.EXISTS and watched(it)]
    if not paths:
        return None
    return Say(step.slot, [Request(Op.REMOVE_WATCHES, PathTypeRequest(path, 2).encode()) for path in paths])


def checked_for_anybody(step: Step, java: Answer, ours: Answer) -> bool:
    """Never the other way round."""
    del step
    found = java[0] == "reply" and java[1] == Op.CHECK_WATCHES and java[4] == Code.OK
    return found and _same_but_error(java, ours, Code.NOWATCHER)


def _same_but_error(java: Answer, ours: Answer, error: int) -> bool:
    return bool((*java[:4], error) == ours[:5])


_ANSWERS: Final[dict[str, Callable[[Step, Answer, Answer], bool]]] = {
    rule.__name__: rule
    for rule in (
        event_zxid,
        null_id,
        watcher_type,
        checked_for_anybody,
        unchecked_exists,
        failed_multi_read,
        config_mtime,
    )
}


def meant(step: Step, java: Answer, ours: Answer) -> str | None:
    """The rule by which these two answers may differ."""
    return next((row["rule"] for row in TABLE["answer"] if _ANSWERS[row["rule"]](step, java, ours)), None)
