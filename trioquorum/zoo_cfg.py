"""ZooKeeper's own configuration, read: ``zoo.cfg`` with its dynamic file and ``myid`` (config §1–4)."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from trioquorum import config as cfg
from trioquorum.errors import ConfigError
from trioquorum.limits import Limits
from trioquorum.transport import Address
from trioquorum.zoo_keys import LIMITS, PROTECTIONS, SETTINGS, Entry, integer, refuse_protection, truth

_TICK_TIME_MS: Final = 3000  # ZooKeeper's default, which a zoo.cfg without tickTime counts on
_WILDCARDS: Final = frozenset(("0.0.0.0", "::"))


def load_zoo_cfg(path: Path) -> tuple[cfg.ServerConfig, list[str]]:
    """The configuration in ``path``, and one line for each key that has no effect here.

    Raises:
        ConfigError: the file, its dynamic file or ``myid`` cannot be read or used.
    """
    found = _read(path)
    warnings: list[str] = []
    settings: dict[str, Any] = {"tick_time_ms": _TICK_TIME_MS, "purge_enabled": False, "voters_min": 2}
    limits: dict[str, Any] = {}
    for key, entry in found.items():
        if key in SETTINGS:
            name, parse = SETTINGS[key]
            settings[name] = parse(entry)
        elif key in LIMITS:
            limits[LIMITS[key]] = integer(entry)
        elif key in PROTECTIONS:
            refuse_protection(entry)
        elif key not in _STRUCTURE and not _SERVER_KEY.fullmatch(key):
            warnings.append(f"{entry.where}: {entry.key} has no effect here")
    data_dir = _data_dir(found, path)
    peers = _peers(found, path)
    own = _own_client(found)
    if not peers or _is_alone(found, peers, path):
        clients = tuple(dict.fromkeys(_merge(own, peers[0].client if peers else None, path)))
        if not clients:
            raise ConfigError(f"{path}: clientPort is missing; add clientPort=2181")
        my_id, peers = 0, ()
    else:
        for key in ("initLimit", "syncLimit"):
            if key not in found:
                raise ConfigError(f"{path}: {key} is missing; an ensemble needs it, add {key}=10")
        my_id = _my_id(data_dir)
        me = next((spec for spec in peers if spec.id == my_id), None)
        if me is None:
            raise ConfigError(
                f"{path}: there is no server.{my_id}, which {data_dir / 'myid'} says this is; correct one"
            )
        clients = _merge(own, me.client, path)
        if (said := found.get("peerType")) and said.value.lower() != me.role:
            warnings.append(
                f"{said.where}: peerType says {said.value}, the server list says {me.role}; the list counts"
            )
    config = cfg.ServerConfig(
        my_id=my_id,
        peers=peers,
        client_addresses=clients,
        data_dir=data_dir,
        data_log_dir=Path(found["dataLogDir"].value) if "dataLogDir" in found else data_dir,
        config_version=_version(found),
        limits=Limits(**limits),
        **settings,
    )
    cfg.check(config, str(path))
    return config, warnings


# -- Properties files --------------------------------------------------------------------------------------------------


def read_properties(text: str, name: str) -> Iterator[Entry]:
    """Java's properties format: comments, continued lines, escapes; ``=``, ``:`` or a blank ends the key."""
    lines = enumerate(re.split("\r\n|\r|\n", text), 1)
    for number, line in lines:
        whole = line.lstrip(_BLANKS)
        if not whole or whole[0] in "#!":
            continue
        while _continues(whole):
            whole = whole[:-1] + next(lines, (0, ""))[1].lstrip(_BLANKS)
        found = _PROPERTY.match(whole)
        where = f"{name}:{number}"
        if found is None:
            raise ConfigError(f"{where}: has no key before the =")
        key, value = (_unescape(part, where).strip() for part in (found["key"], whole[found.end() :]))
        yield Entry(key, value, where)


_BLANKS: Final = " \t\f"
_PROPERTY: Final = re.compile(r"(?P<key>(?:\\.|[^\\=: \t\f])+)[ \t\f]*[=:]?[ \t\f]*", re.DOTALL)
_ESCAPES: Final = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def _continues(line: str) -> bool:
    """An odd number of backslashes at the end."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def _unescape(text: str, where: str) -> str:
    def replace(found: re.Match[str]) -> str:
        escaped = found[1]
        if escaped[0] == "u":
            if len(escaped) < 5:
                raise ConfigError(f"{where}: \\u is not followed by four hexadecimal digits")
            return chr(int(escaped[1:], 16))
        return _ESCAPES.get(escaped, escaped)

    return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", replace, text, flags=re.DOTALL)


def _read(path: Path) -> dict[str, Entry]:
    """All entries, those of the dynamic file included; a later line replaces an earlier one, as in Java."""
    found = {entry.key.removeprefix("zookeeper."): entry for entry in read_properties(cfg.read_text(path), str(path))}
    if "dynamicConfigFile" not in found:
        return found
    for key, entry in found.items():
        if _SERVER_KEY.fullmatch(key):
            raise ConfigError(f"{entry.where}: {entry.key} belongs into dynamicConfigFile when there is one; move it")
    dynamic = Path(found["dynamicConfigFile"].value)
    for entry in read_properties(cfg.read_text(dynamic), str(dynamic)):
        if not _SERVER_KEY.fullmatch(entry.key):
            raise ConfigError(f"{entry.where}: {entry.key} does not belong into a dynamic file; move it to {path}")
        found[entry.key] = entry
    return found


_STRUCTURE: Final = frozenset(
    ("dataDir", "dataLogDir", "clientPort", "clientPortAddress", "peerType", "electionAlg", "dynamicConfigFile")
    + ("initLimit", "syncLimit", "observerMasterPort")
)
_SERVER_KEY: Final = re.compile(r"(?:server|group|weight)\.\d+")


# -- The ensemble ------------------------------------------------------------------------------------------------------

_HOST: Final = r"(?:\[[\w:.%]+\]|[^\[\]:;|\s]+)"
_SERVER: Final = re.compile(
    rf"(?P<host>{_HOST}):(?P<quorum>\d+):(?P<election>\d+)(?::(?P<role>\w+))?"
    rf"(?:\s*;\s*(?:(?P<client_host>{_HOST}):)?(?P<client>\d+))?"
)


def _peers(found: Mapping[str, Entry], path: Path) -> tuple[cfg.PeerSpec, ...]:
    if (algorithm := found.get("electionAlg")) and integer(algorithm) != 3:
        raise ConfigError(
            f"{algorithm.where}: electionAlg is {algorithm.value}; only 3 exists any more, remove the line"
        )
    groups: dict[int, int] = {}
    weights: dict[int, int] = {}
    specs: dict[int, cfg.PeerSpec] = {}
    for key, entry in found.items():
        kind, _, number = key.partition(".")
        if not _SERVER_KEY.fullmatch(key):
            continue
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


def _server(sid: int, entry: Entry) -> cfg.PeerSpec:
    """``server.N``'s value: ``host:quorum:election[:role][;[host:]port]``, IPv6 hosts in brackets."""
    if "|" in entry.value:
        raise ConfigError(f"{entry.where}: {entry.key} has several addresses; only one is supported, keep one")
    if entry.value.count(";") > 1:
        raise ConfigError(f"{entry.where}: {entry.key} names a TLS client port; none is offered, remove that part")
    found = _SERVER.fullmatch(entry.value)
    if found is None:
        raise ConfigError(f"{entry.where}: {entry.key} is {entry.value!r}; write host:2888:3888[:observer][;2181]")
    role = (found["role"] or "participant").lower()
    if role not in ("participant", "observer"):
        raise ConfigError(f"{entry.where}: {found['role']!r} is no role; write participant or observer")
    return cfg.PeerSpec(
        id=sid,
        quorum=_address(found["host"], found["quorum"], entry),
        election=_address(found["host"], found["election"], entry),
        client=_address(found["client_host"] or "0.0.0.0", found["client"], entry) if found["client"] else None,
        role="observer" if role == "observer" else "participant",
    )


def _observer_master(spec: cfg.PeerSpec, port: Entry | None) -> Address | None:
    """One port for all servers, each on its quorum host; 0 or less is ZooKeeper's default, none."""
    return None if port is None or integer(port) <= 0 else _address(spec.quorum.host, port.value, port)


def _address(host: str, port: str, entry: Entry) -> Address:
    if not 0 < int(port) < 1 << 16:
        raise ConfigError(f"{entry.where}: {port} is no port; use 1 to 65535")
    return Address("tcp", host.strip("[]").lower(), int(port))


def _is_alone(found: Mapping[str, Entry], peers: tuple[cfg.PeerSpec, ...], path: Path) -> bool:
    """One participant is a standalone server, unless ``standaloneEnabled=false``."""
    enabled = "standaloneEnabled" not in found or truth(found["standaloneEnabled"])
    voters = sum(spec.role == "participant" for spec in peers)
    if enabled and voters == 1 and len(peers) > 1:
        raise ConfigError(f"{path}: observers need an ensemble; add participants or set standaloneEnabled=false")
    return enabled and voters == 1


def _own_client(found: Mapping[str, Entry]) -> Address | None:
    """The client address that the static part names."""
    if "clientPort" not in found:
        if host := found.get("clientPortAddress"):
            raise ConfigError(f"{host.where}: clientPortAddress needs a clientPort; add clientPort=2181")
        return None
    entry = found["clientPort"]
    host = found.get("clientPortAddress")
    integer(entry)
    return _address(host.value if host else "0.0.0.0", entry.value, entry)


def _merge(own: Address | None, listed: Address | None, path: Path) -> tuple[Address, ...]:
    """The client addresses of static part and server line, which must not contradict each other."""
    if own is None or listed is None:
        return tuple(address for address in (own, listed) if address is not None)
    if own == listed or (own.port == listed.port and own.host in _WILDCARDS):
        return (listed,)
    if own.port == listed.port and listed.host in _WILDCARDS:
        return (own,)
    raise ConfigError(f"{path}: clientPort says {own}, the server line says {listed}; keep one of them")


def _data_dir(found: Mapping[str, Entry], path: Path) -> Path:
    if "dataDir" not in found or not found["dataDir"].value:
        raise ConfigError(f"{path}: dataDir is missing; add dataDir=/var/lib/zookeeper")
    return Path(found["dataDir"].value)


def _my_id(data_dir: Path) -> int:
    file = data_dir / "myid"
    try:
        text = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise ConfigError(f"{file}: is missing; write this server's number (N of its server.N line) into it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    if not text.isdecimal():
        raise ConfigError(f"{file}: says {text!r}; write this server's number into it")
    return int(text)


def _version(found: Mapping[str, Entry]) -> int:
    """The version of the ensemble's configuration: what follows the last dot of the dynamic file's name, in hex."""
    if "dynamicConfigFile" not in found:
        return 0
    _, _, suffix = Path(found["dynamicConfigFile"].value).name.rpartition(".")
    try:
        return int(suffix, 16)
    except ValueError:
        return 0
