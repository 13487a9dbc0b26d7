"""The ensemble of a ``zoo.cfg``: its ``server``, ``group`` and ``weight`` lines (config §2)."""

import re
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Final

import msgspec

from trioquorum.config import PeerSpec
from trioquorum.errors import ConfigError
from trioquorum.properties import Entry
from trioquorum.transport import Address
from trioquorum.zoo_keys import integer

_KINDS: Final = frozenset(("server", "group", "weight"))

_HOST: Final = r"(?:\[[\w:.%]+\]|[^\[\]:;|\s]+)"
_SERVER: Final = re.compile(rf"(?P<host>{_HOST}):(?P<quorum>\d+):(?P<election>\d+)(?::(?P<role>\w+))?")
_CLIENT: Final = re.compile(rf"(?:(?P<host>{_HOST}):)?(?P<port>\d+)")
_CLIENT_SCHEMES: Final = ("tcp", "tls")


def is_server_key(key: str) -> bool:
    """Whether the line describes the ensemble, and so belongs into a dynamic file where there is one."""
    kind, dot, _ = key.partition(".")
    return bool(dot) and kind in _KINDS


def peers_of(found: Mapping[str, Entry], path: Path) -> tuple[PeerSpec, ...]:
    """Every server that ``found`` lists, in the order of their numbers; ``path`` is the file.

    Raises:
        ConfigError: a line makes no sense, or contradicts another.
    """
    if (algorithm := found.get("electionAlg")) and integer(algorithm) != 3:
        raise ConfigError(
            f"{algorithm.where}: electionAlg is {algorithm.value}; only 3 exists any more, remove the line"
        )
    if (role := found.get("peerType")) and role.value.lower() not in ("participant", "observer"):
        raise ConfigError(f"{role.where}: peerType is {role.value!r}; write participant or observer")
    groups: dict[int, int] = {}
    weights: dict[int, int] = {}
    specs: dict[int, PeerSpec] = {}
    for key, entry in found.items():
        kind, _, number = key.partition(".")
        if not is_server_key(key):
            continue
        if not number.isdecimal():
            raise ConfigError(f"{entry.where}: {entry.key} names no server or group; write a number behind the dot")
        if kind == "weight":
            weights[int(number)] = integer(entry)
        elif kind == "group":
            for member in entry.value.split(":"):
                sid = integer(entry._replace(value=member))
                if sid in groups:
                    raise ConfigError(f"{entry.where}: server {sid} is in two groups; leave it in one")
                groups[sid] = int(number)
        else:
            specs[int(number)] = _server(int(number), entry)
    for sid in (groups.keys() | weights.keys()) - specs.keys():
        raise ConfigError(
            f"{path}: a group or weight names server {sid}, but there is no server.{sid}; add or remove it"
        )
    return tuple(
        msgspec.structs.replace(
            spec,
            group=groups.get(sid),
            weight=weights.get(sid, 1),
            observer_master=_observer_master(spec, found.get("observerMasterPort")),
        )
        for sid, spec in sorted(specs.items())
    )


def _server(sid: int, entry: Entry) -> PeerSpec:
    """``server.N``'s value: ``host:quorum:election[:role][;[host:]port][;[host:]port for TLS]``, IPv6 in brackets."""
    if "|" in entry.value:
        raise ConfigError(f"{entry.where}: {entry.key} has several addresses; only one is supported, keep one")
    server, *clients = map(str.strip, entry.value.split(";"))
    found = _SERVER.fullmatch(server)
    parts = [_CLIENT.fullmatch(text) for text in clients]
    odd = [text for text, part in zip(clients, parts, strict=True) if text and part is None]
    if found is None or odd or len(clients) > len(_CLIENT_SCHEMES) or (clients and not clients[-1]):
        hint = "host:2888:3888[:observer][;2181[;2281]]"
        raise ConfigError(f"{entry.where}: {entry.key} is {entry.value!r}; write {hint}")
    role = (found["role"] or "participant").lower()
    if role not in ("participant", "observer"):
        raise ConfigError(f"{entry.where}: {found['role']!r} is no role; write participant or observer")
    listed = [
        None if part is None else address(part["host"] or "0.0.0.0", part["port"], entry, scheme)
        for part, scheme in zip_longest(parts, _CLIENT_SCHEMES)
    ]
    return PeerSpec(
        id=sid,
        quorum=address(found["host"], found["quorum"], entry),
        election=address(found["host"], found["election"], entry),
        client=listed[0],
        secure_client=listed[1],
        role="observer" if role == "observer" else "participant",
    )


def _observer_master(spec: PeerSpec, port: Entry | None) -> Address | None:
    """One port for all servers, each on its quorum host; 0 or less is ZooKeeper's default, none."""
    return None if port is None or integer(port) <= 0 else address(spec.quorum.host, port.value, port)


def address(host: str, port: str, entry: Entry, scheme: str = "tcp") -> Address:
    """``host``, in brackets if it is IPv6, with a port that exists."""
    if not 0 < int(port) < 1 << 16:
        raise ConfigError(f"{entry.where}: {port} is no port; use 1 to 65535")
    return Address(scheme, host.strip("[]").lower(), int(port))
