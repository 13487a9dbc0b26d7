"""Changing the membership while it serves (quorum-protocol §19, client-protocol §16).

The text of a configuration is read here, a client's request becomes the next configuration or is refused, and what
an activated configuration means for a peer is decided. The reading is strict: this text decides who has a quorum.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import zip_longest
from typing import Final, Literal

import msgspec

from trioquorum.errors import Code, ConfigError, MemberIdTooLarge, RequestFailed
from trioquorum.wire.records import ReconfigRequest
from trioquorum.zab.quorum import Member, QuorumConfig

SID_MAX: Final = 254
"""The id is the top byte of the session ids its peer hands out, and 255 marks TTL znodes."""

PORT_MAX: Final = 0xFFFF
ANY_VERSION: Final = -1

_TCP: Final = "tcp"
_TLS: Final = "tls"
_CLIENT_SCHEMES: Final = (_TCP, _TLS)
_HINT: Final = "write host:2888:3888[:observer][;2181[;2281]]"

_WILDCARDS: Final = frozenset(("0.0.0.0", "[::]"))
_HOST: Final = r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]:;|=,/\s]+)"
_URL: Final = r"[a-z][a-z0-9+.-]*://[^|;=,\s]+"
_TCP_SERVER: Final = re.compile(rf"(?P<host>{_HOST}):(?P<quorum>\d{{1,5}}):(?P<election>\d{{1,5}})(?::(?P<role>\w+))?")
_TCP_CLIENT: Final = re.compile(rf"(?:(?P<host>{_HOST}):)?(?P<port>\d{{1,5}})")
_URL_SERVER: Final = re.compile(rf"(?P<quorum>{_URL})\|(?P<election>{_URL}?):(?P<role>\w+)")
_URL_CLIENT: Final = re.compile(_URL)
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_VERSION: Final = re.compile(r"[0-9a-f]{1,16}")


def parse_config(text: str) -> QuorumConfig:
    """The configuration that ``QuorumConfig.text`` wrote, or a list of members in that form without a version.

    Raises:
        ConfigError: it is not that; nothing is guessed.
    """
    members: dict[int, Member] = {}
    groups: dict[int, int] = {}
    weights: dict[int, int] = {}
    version = 0
    for line in filter(None, map(str.strip, text.split("\n"))):
        key, equals, value = (part.strip() for part in line.partition("="))
        kind, _, number = key.partition(".")
        if key == "version" and _VERSION.fullmatch(value):
            version = int(value, 16)
        elif kind == "server" and equals:
            _once(members, parse_member(_number(number, line), value))
        elif kind == "group" and equals:
            for word in value.split(":"):
                sid = _number(word, line)
                if sid in groups:
                    raise ConfigError(f"server {sid} is in two groups; leave it in one")
                groups[sid] = _number(number, line)
        elif kind == "weight" and equals:
            weights[_number(number, line)] = _number(value, line)
        else:
            raise ConfigError(f"{line!r} is no line of a configuration")
    for sid in sorted(groups.keys() | weights.keys()):
        if sid not in members:
            raise ConfigError(f"a group or weight names server {sid}, but there is no server.{sid}")
    grouped = [
        msgspec.structs.replace(member, group=groups.get(sid), weight=weights.get(sid, 1))
        for sid, member in members.items()
    ]
    return QuorumConfig(grouped, version)


def _once(members: dict[int, Member], member: Member) -> None:
    if member.id in members:
        raise ConfigError(f"server {member.id} is listed twice; give each its own id")
    members[member.id] = member


def _number(text: str, line: str) -> int:
    if not _NUMBER.fullmatch(text.strip()):
        raise ConfigError(f"{text!r} in {line!r} is no number")
    return int(text)


def parse_member(sid: int, value: str) -> Member:
    """What stands behind ``server.N=``: ``host:quorum:election[:role][;[host:]client][;[host:]secure client]``.

    With one client alone behind two semicolons, that is one for TLS. URLs may stand for hosts and ports.

    Raises:
        ConfigError: it is not that.
    """
    if sid > SID_MAX:
        raise _IdTooLarge(f"server id {sid} is out of range; use 0 to {SID_MAX}")
    server, *clients = map(str.strip, value.split(";"))
    if len(clients) > len(_CLIENT_SCHEMES) or (clients and not clients[-1]):
        raise ConfigError(f"{value!r} is no server; {_HINT}")
    client, secure = (_client(text, scheme) for text, scheme in zip_longest(clients, _CLIENT_SCHEMES, fillvalue=""))
    found = _TCP_SERVER.fullmatch(server)
    if found is not None:
        quorum, election = _tcp(found["host"], found["quorum"]), _tcp(found["host"], found["election"])
        return Member(sid, quorum, election, client, _role(found["role"] or "participant"), secure_client=secure)
    found = _URL_SERVER.fullmatch(server)
    if found is None:
        raise ConfigError(f"{value!r} is no server; {_HINT}")
    return Member(sid, found["quorum"], found["election"], client, _role(found["role"]), secure_client=secure)


def _client(text: str, scheme: str) -> str | None:
    """One client address, ``[host:]port`` or a URL; of TLS only by that scheme."""
    if not text:
        return None
    found = _TCP_CLIENT.fullmatch(text)
    if found is not None:
        return _tcp(found["host"] or "0.0.0.0", found["port"], scheme)
    if not _URL_CLIENT.fullmatch(text) or (text.partition(":")[0] == _TLS) != (scheme == _TLS):
        raise ConfigError(f"{text!r} is no client address; {_HINT}")
    return text


def _tcp(host: str, port: str, scheme: str = _TCP) -> str:
    if not 0 < int(port) <= PORT_MAX:
        raise ConfigError(f"{port} is no port; use 1 to {PORT_MAX}")
    return f"{scheme}://{host.lower()}:{int(port)}"


def _role(text: str) -> Literal["participant", "observer"]:
    if text.lower() == "participant":
        return "participant"
    if text.lower() == "observer":
        return "observer"
    raise ConfigError(f"{text!r} is no role; write participant or observer")


# -- From a request to the next configuration ----------------------------------------------------------------------


class _IdTooLarge(ConfigError):
    """See ``SID_MAX``."""


def next_config(
    request: ReconfigRequest,
    zxid: int,
    committed: QuorumConfig,
    last_seen: QuorumConfig,
    synced: Collection[int],
    *,
    voters_min: int,
) -> QuorumConfig:
    """The configuration that ``request`` asks for, with ``zxid`` as its version.

    ``synced`` are the leader and the followers that keep up with it: a quorum of the new configuration must be among
    them, or it could not commit even this change. At least ``voters_min`` participants must remain.

    Raises:
        RequestFailed: in ZooKeeper's order, RECONFIGINPROGRESS, BADVERSION, BADARGUMENTS (MARSHALLINGERROR for what
            should be a number), NEWCONFIGNOQUORUM.
    """
    if last_seen.version != committed.version:
        raise RequestFailed(Code.RECONFIGINPROGRESS)
    if request.config_id not in (ANY_VERSION, last_seen.version):
        raise RequestFailed(Code.BADVERSION)
    try:
        if request.new_members is not None:
            members = list(parse_config(request.new_members.replace(",", "\n")).members.values())
            _refuse_shared(members)
        else:
            members = _changed(request, last_seen)
        config = QuorumConfig(members, zxid)
    except _IdTooLarge:
        raise MemberIdTooLarge from None
    except ConfigError:
        raise RequestFailed(Code.BADARGUMENTS) from None
    if len(config.voters) < voters_min:
        raise RequestFailed(Code.BADARGUMENTS)
    if not config.contains_quorum(synced):
        raise RequestFailed(Code.NEWCONFIGNOQUORUM)
    return config


def _changed(request: ReconfigRequest, old: QuorumConfig) -> list[Member]:
    """``old`` without who leaves, then with who joins; who is listed already is replaced.

    Raises:
        ConfigError: groups cannot be changed one by one, a joiner lacks an address or shares one.
        RequestFailed: MARSHALLINGERROR, an id is no number.
    """
    if old.hierarchical:
        raise ConfigError("members with groups are changed all at once, by a list of new members")
    members = dict(old.members)
    for sid in _split(request.leaving):
        members.pop(_sid(sid), None)
    for joiner in _split(request.joining):
        key, equals, value = joiner.partition("=")
        if not equals or "=" in value:
            raise ConfigError(f"{joiner!r} is no server line")
        member = parse_member(_sid(key.rpartition(".")[2]), value.strip())
        if member.client is None and member.secure_client is None:
            raise ConfigError(f"server {member.id} has no client address")
        members[member.id] = member
        _refuse_shared(members.values())
    return list(members.values())


def _split(text: str | None) -> list[str]:
    return [word for word in map(str.strip, (text or "").split(",")) if word]


def _sid(text: str) -> int:
    if not _NUMBER.fullmatch(text.strip()):
        raise RequestFailed(Code.MARSHALLINGERROR)
    return int(text)


def _refuse_shared(members: Iterable[Member]) -> None:
    """No two listeners of an ensemble have one address; a wildcard stands for one of each host."""
    used: set[str] = set()
    for member in members:
        for address in (member.quorum, member.election, member.client, member.secure_client):
            if address is None or address.partition("://")[2].rpartition(":")[0] in _WILDCARDS:
                continue
            if address in used:
                raise ConfigError(f"{address} is used twice; give each its own port")
            used.add(address)


# -- From an activated configuration to what a peer does ----------------------------------------------------------


def designated_leader(my_id: int, old: QuorumConfig, new: QuorumConfig, acked: Mapping[int, int], zxid: int) -> int:
    """Who leads ``new``, proposed at ``zxid`` (§19.4): this leader if it can stay, else who has logged most.

    Addresses are compared as they are written, never resolved: a name that does not resolve yet is no other host
    (trap 35). ``acked`` is up to where each log is known to reach. Without a better one this leader is designated.
    """
    if keeps_address(my_id, old, new):
        return my_id
    able = [(acked[sid], sid) for sid in new.voters if sid != my_id and acked.get(sid, -1) >= zxid and new.weight(sid)]
    return max(able)[1] if able else my_id


def keeps_address(sid: int, old: QuorumConfig, new: QuorumConfig) -> bool:
    """Whether ``sid`` may vote and be found where it was, before and after."""
    return sid in old.voters and sid in new.voters and old.members[sid].quorum == new.members[sid].quorum


class Outcome(msgspec.Struct, frozen=True):
    """What an activation means for a peer's role: whether it ends, and whom to follow, or be, without an election."""

    ends_role: bool
    next_leader: int | None = None


def outcome(my_id: int, leader: int, old: QuorumConfig, new: QuorumConfig, designated: int | None) -> Outcome:
    """What it means for ``my_id``, who follows ``leader``, that ``new`` takes the place of ``old`` (§19.6).

    Who is not listed any more stays what it was unless it was an observer: it follows without a vote. Without a
    ``designated`` leader (the activation came with the end of a synchronisation) an election decides.
    """
    if new.version <= old.version or old == new:
        return Outcome(ends_role=False)
    role_changes = (my_id in old.observers) != (my_id in new.observers)
    if designated is None:
        return Outcome(role_changes or not keeps_address(leader, old, new))
    if role_changes or designated != leader:
        return Outcome(ends_role=True, next_leader=designated)
    return Outcome(ends_role=False)
