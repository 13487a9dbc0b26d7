"""ZooKeeper's own configuration, read: ``zoo.cfg`` with its dynamic file and ``myid`` (config §1–4)."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from trioquorum import config as cfg
from trioquorum.errors import ConfigError
from trioquorum.limits import Limits, Throttles
from trioquorum.properties import Entry, read_properties
from trioquorum.transport import Address
from trioquorum.zoo_admin import ADMIN, admin_url
from trioquorum.zoo_inert import WITHOUT_EFFECT, nearest, reason_without_effect
from trioquorum.zoo_keys import (
    LIMITS,
    PROTECTIONS,
    SETTINGS,
    THROTTLES,
    house_name,
    house_value,
    integer,
    refuse_protection,
    truth,
)
from trioquorum.zoo_refusals import in_their_words
from trioquorum.zoo_security import SECURITY, auth_settings, is_security, tls_settings
from trioquorum.zoo_servers import address, is_server_key, peers_of

_TICK_TIME_MS: Final = 3000  # ZooKeeper's default, which a zoo.cfg without tickTime counts on
_WILDCARDS: Final = frozenset(("0.0.0.0", "::"))


def load_zoo_cfg(path: Path, overrides: Iterable[str] = ()) -> tuple[cfg.ServerConfig, list[str]]:
    """The configuration in ``path``, and one line for each key that has no effect here.

    ``overrides`` are ``name=value``, and count more than the file.

    Raises:
        ConfigError: the file, its dynamic file, an override or ``myid`` cannot be read or used.
    """
    found = _read(path, overrides)
    warnings: list[str] = []
    settings: dict[str, Any] = {"tick_time_ms": _TICK_TIME_MS, "purge_enabled": False, "voters_min": 2}
    limits: dict[str, Any] = {}
    throttles: dict[str, Any] = {}
    for key, entry in found.items():
        if key in SETTINGS:
            name, parse = SETTINGS[key]
            settings[name] = parse(entry)
        elif key in LIMITS:
            limits[LIMITS[key]] = integer(entry)
        elif key in THROTTLES:
            name, parse = THROTTLES[key]
            throttles[name] = parse(entry)
        elif key in PROTECTIONS:
            refuse_protection(entry)
        elif ours := house_name(entry):
            (limits if ours in Limits.__struct_fields__ else settings)[ours] = house_value(entry, ours)
        elif key not in _STRUCTURE and key not in ADMIN and not is_server_key(key) and not is_security(key, entry):
            warnings.append(_without_effect(key, entry))
    if "four_letter_words" in settings:
        settings["four_letter_words"] |= _always_asked(found)
    data_dir = _data_dir(found, path)
    peers = peers_of(found, path)
    own = [_own_client(found, *keys) for keys in _CLIENT_KEYS]
    if not peers or _is_alone(found, peers, path):
        clients = _clients(own, peers[0] if peers else None, path)
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
        clients = _clients(own, me, path)
        if (said := found.get("peerType")) and said.value.lower() != me.role:
            warnings.append(
                f"{said.where}: peerType says {said.value}, the server list says {me.role}; the list counts"
            )
    config = cfg.ServerConfig(
        my_id=my_id,
        peers=_with_admin(peers, my_id, admin_url(found, warnings), warnings, path),
        client_addresses=clients,
        data_dir=data_dir,
        data_log_dir=Path(found["dataLogDir"].value) if "dataLogDir" in found else data_dir,
        config_version=_version(found),
        limits=Limits(**limits),
        auth=auth_settings(found),
        tls=tls_settings(found),
        throttles=Throttles(**throttles),
        **settings,
    )
    _check(config, path, found)
    return config, warnings


def _check(config: cfg.ServerConfig, path: Path, found: Mapping[str, Entry]) -> None:
    try:
        cfg.check(config, str(path))
    except ConfigError as error:
        raise in_their_words(error, str(path), found) from None


def _with_admin(
    peers: tuple[cfg.PeerSpec, ...], my_id: int, url: str | None, warnings: list[str], path: Path
) -> tuple[cfg.PeerSpec, ...]:
    """The same peers, of which this one has an admin port at ``url``, if anywhere."""
    if url is not None and not peers:
        warnings.append(f"{path}: a standalone server has no admin port by itself; start it with --admin {url}")
    return tuple(msgspec.structs.replace(spec, admin=url) if spec.id == my_id else spec for spec in peers)


def _always_asked(found: Mapping[str, Entry]) -> frozenset[str]:
    """Words that no whitelist can leave out: ZooKeeper's own scripts and read-only clients need them."""
    read_only = "readonlymode.enabled" in found and truth(found["readonlymode.enabled"])
    return frozenset(("srvr", "isro") if read_only else ("srvr",))


def _without_effect(key: str, entry: Entry) -> str:
    """The warning for a key that changes nothing."""
    if reason := reason_without_effect(key):
        return f"{entry.where}: {entry.key} has no effect here: {reason}"
    guess = nearest(
        key, (*SETTINGS, *LIMITS, *THROTTLES, *PROTECTIONS, *SECURITY, *ADMIN, *_STRUCTURE, *WITHOUT_EFFECT)
    )
    hint = "it has no effect" if guess is None else f"did you mean {guess}?"
    return f"{entry.where}: {entry.key} is no key of ZooKeeper; {hint}"


# -- Reading -----------------------------------------------------------------------------------------------------------


def _read(path: Path, overrides: Iterable[str]) -> dict[str, Entry]:
    """All entries, those of the dynamic file included; a later line replaces an earlier one, as in Java."""
    entries = (*read_properties(cfg.read_text(path), str(path)), *map(_override, overrides))
    found = {entry.key.removeprefix("zookeeper."): entry for entry in entries}
    if "dynamicConfigFile" not in found:
        return found
    for key, entry in found.items():
        if is_server_key(key):
            raise ConfigError(f"{entry.where}: {entry.key} belongs into dynamicConfigFile when there is one; move it")
    dynamic = Path(found["dynamicConfigFile"].value)
    for entry in read_properties(cfg.read_text(dynamic), str(dynamic)):
        if not is_server_key(entry.key):
            raise ConfigError(f"{entry.where}: {entry.key} does not belong into a dynamic file; move it to {path}")
        found[entry.key] = entry
    return found


def _override(text: str) -> Entry:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ConfigError(f"--set {text}: write name=value")
    return Entry(name.strip(), value.strip(), "--set")


_CLIENT_KEYS: Final = (
    ("clientPort", "clientPortAddress", "tcp"),
    ("secureClientPort", "secureClientPortAddress", "tls"),
)
_STRUCTURE: Final = frozenset(
    ("secureClientPort", "secureClientPortAddress")
    + ("dataDir", "dataLogDir", "clientPort", "clientPortAddress", "peerType", "electionAlg", "dynamicConfigFile")
    + ("initLimit", "syncLimit", "observerMasterPort")
)


# -- The ensemble ------------------------------------------------------------------------------------------------------


def _is_alone(found: Mapping[str, Entry], peers: tuple[cfg.PeerSpec, ...], path: Path) -> bool:
    """One participant is a standalone server, unless ``standaloneEnabled=false``."""
    enabled = "standaloneEnabled" not in found or truth(found["standaloneEnabled"])
    voters = sum(spec.role == "participant" for spec in peers)
    if enabled and voters == 1 and len(peers) > 1:
        raise ConfigError(f"{path}: observers need an ensemble; add participants or set standaloneEnabled=false")
    return enabled and voters == 1


def _own_client(found: Mapping[str, Entry], key: str, host_key: str, scheme: str) -> Address | None:
    """The client address of one kind that the static part names."""
    host = found.get(host_key)
    if key not in found:
        if host:
            raise ConfigError(f"{host.where}: {host_key} needs a {key}; add {key}=2181")
        return None
    entry = found[key]
    integer(entry)
    return address(host.value if host else "0.0.0.0", entry.value, entry, scheme)


def _clients(own: Iterable[Address | None], listed: cfg.PeerSpec | None, path: Path) -> tuple[Address, ...]:
    """Where clients are served, plain and by TLS, by static part and server line together."""
    lines = (None, None) if listed is None else (listed.client, listed.secure_client)
    merged = [_merge(mine, line, path) for mine, line in zip(own, lines, strict=True)]
    return tuple(each for each in merged if each is not None)


def _merge(own: Address | None, listed: Address | None, path: Path) -> Address | None:
    """The client address of static part and server line, which must not contradict each other."""
    if own is None or listed is None:
        return own or listed
    if own == listed or (own.port == listed.port and own.host in _WILDCARDS):
        return listed
    if own.port == listed.port and listed.host in _WILDCARDS:
        return own
    key = _CLIENT_KEYS[own.scheme == "tls"][0]
    raise ConfigError(f"{path}: {key} says {own}, the server line says {listed}; keep one of them")


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
