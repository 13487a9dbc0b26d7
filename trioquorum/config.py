"""What a server is told: ``peers.toml`` read into frozen structs (design §3). ``zoo_cfg`` reads ZooKeeper's file."""

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from trioquorum.config_security import AuthSettings, TlsSettings, check_auth, check_tls
from trioquorum.errors import ConfigError
from trioquorum.limits import Limits, Throttles
from trioquorum.settings import FOUR_LETTER_WORDS as FOUR_LETTER_WORDS, MAY_BE_OFF, MAY_BE_ZERO, Settings as Settings
from trioquorum.transport import Address
from trioquorum.zab.quorum import Member, QuorumConfig

Role = Literal["participant", "observer"]

PEER_ID_MAX: Final = 254
"""The id is the top byte of the session ids its peer hands out, and 255 marks TTL znodes."""

PEER_ID_353_MAX: Final = 127
"""With ``emulate_353_ttl_nodes``: session ids of higher peers are negative, as TTL znodes' owners were."""

STANDALONE_CLIENT: Final = Address("tcp", "127.0.0.1", 2181)

_MIN_TIMEOUT_TICKS: Final = 2
_MAX_TIMEOUT_TICKS: Final = 20


class PeerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One peer of the ensemble. ``client``, ``secure_client`` (TLS) and ``admin`` are absent when it has no such port.

    At ``observer_master``, if there is such an address, the peer feeds observers while it follows.
    """

    id: int
    quorum: Address
    election: Address
    client: Address | None = None
    secure_client: Address | None = None
    observer_master: Address | None = None
    admin: str | None = None
    role: Role = "participant"
    weight: int = 1
    group: int | None = None


class ServerConfig(Settings, frozen=True, kw_only=True):
    """Everything one server is told. No ``peers`` means standalone, and then ``my_id`` is 0.

    The session timeout bounds are filled in: never 0 here.
    """

    my_id: int
    peers: tuple[PeerSpec, ...]
    client_addresses: tuple[Address, ...]
    data_dir: Path
    data_log_dir: Path
    config_version: int = 0
    limits: Limits = Limits()
    auth: AuthSettings = AuthSettings()
    throttles: Throttles = Throttles()
    tls: TlsSettings | None = None

    def __post_init__(self) -> None:
        if self.min_session_timeout_ms == 0:
            msgspec.structs.force_setattr(self, "min_session_timeout_ms", _MIN_TIMEOUT_TICKS * self.tick_time_ms)
        if self.max_session_timeout_ms == 0:
            msgspec.structs.force_setattr(self, "max_session_timeout_ms", _MAX_TIMEOUT_TICKS * self.tick_time_ms)

    @property
    def me(self) -> PeerSpec | None:
        """The peer this server is, ``None`` when standalone."""
        return next((spec for spec in self.peers if spec.id == self.my_id), None)

    @property
    def asks_for_certificates(self) -> bool:
        """Whether clients that speak TLS may show who they are."""
        return self.tls is not None and self.tls.client_auth != "none"

    def quorum_config(self) -> QuorumConfig:
        """The ensemble as the pure machines know it."""
        return quorum_config(self.peers, self.config_version)


def quorum_config(peers: Iterable[PeerSpec], version: int = 0) -> QuorumConfig:
    """``peers`` as the pure machines know them."""
    return QuorumConfig(
        (
            Member(
                id=spec.id,
                quorum=str(spec.quorum),
                election=str(spec.election),
                client=None if spec.client is None else str(spec.client),
                secure_client=None if spec.secure_client is None else str(spec.secure_client),
                role=spec.role,
                weight=spec.weight,
                group=spec.group,
            )
            for spec in peers
        ),
        version,
    )


class _Peer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[[peer]]`` table, as written."""

    id: int
    quorum: str
    election: str
    client: str | None = None
    secure_client: str | None = None
    observer_master: str | None = None
    admin: str | None = None
    role: Role = "participant"
    weight: int = 1
    group: int | None = None


class _PeersFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of ``peers.toml``."""

    peer: list[_Peer]
    ensemble: Settings = Settings()
    limits: Limits = Limits()
    auth: AuthSettings = AuthSettings()
    throttles: Throttles = Throttles()
    tls: TlsSettings | None = None


def load_peers_toml(path: Path, my_id: int, data_dir: Path | None = None) -> ServerConfig:
    """The configuration of peer ``my_id`` of the ensemble that ``path`` describes.

    Without ``data_dir`` the peer keeps its data in ``trioquorum-data/peer<id>`` under the working directory.

    Raises:
        ConfigError: the file cannot be read or used, or has no peer ``my_id``, or the directory is another peer's.
    """
    file = _decode(path)
    peers = tuple(_peer_spec(path, index, table) for index, table in enumerate(file.peer))
    data_dir = data_dir or Path("trioquorum-data") / f"peer{my_id}"
    me = next((spec for spec in peers if spec.id == my_id), None)
    if me is None:
        ids = ", ".join(str(spec.id) for spec in peers) or "none"
        raise ConfigError(f"{path}: there is no peer {my_id}; choose --id from: {ids}")
    _check_myid(data_dir, my_id)
    config = ServerConfig(
        my_id=my_id,
        peers=tuple(sorted(peers, key=lambda spec: spec.id)),
        client_addresses=tuple(each for each in (me.client, me.secure_client) if each is not None),
        data_dir=data_dir,
        data_log_dir=data_dir,
        limits=file.limits,
        auth=file.auth,
        throttles=file.throttles,
        tls=file.tls,
        **msgspec.structs.asdict(file.ensemble),
    )
    check(config, str(path))
    return config


def read_peers(path: Path) -> tuple[PeerSpec, ...]:
    """The peers of a ``peers.toml``, in the file's order.

    Raises:
        ConfigError: the file cannot be read or used.
    """
    peers = tuple(_peer_spec(path, index, table) for index, table in enumerate(_decode(path).peer))
    check_peers(peers, str(path))
    return peers


def standalone(data_dir: Path | None = None, client: Address = STANDALONE_CLIENT) -> ServerConfig:
    """One server on its own, on loopback unless told otherwise; data in ``trioquorum-data/standalone`` unless given.

    Raises:
        ConfigError: it cannot be served there.
    """
    data_dir = data_dir or Path("trioquorum-data") / "standalone"
    config = ServerConfig(my_id=0, peers=(), client_addresses=(client,), data_dir=data_dir, data_log_dir=data_dir)
    check(config, str(client))
    return config


def read_text(path: Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: it is missing, not readable, or not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8 text") from None
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; create it or name another one") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def check(config: ServerConfig, source: str) -> None:
    """Refuse a configuration that contradicts itself; ``source`` starts the message.

    Raises:
        ConfigError: what is wrong, and what to do.
    """
    for where, struct in (("", config), ("limits.", config.limits)):
        for name in struct.__struct_fields__:
            value, least = getattr(struct, name), -1 if name in MAY_BE_OFF else 0 if name in MAY_BE_ZERO else 1
            if type(value) is int and value < least:
                raise ConfigError(f"{source}: {where}{name} is {value}; it must be at least {least}")
    for name, default in msgspec.structs.asdict(Throttles()).items():
        value, least = getattr(config.throttles, name), -1 if default == -1 else 1 if default >= 1 else 0
        if type(value) is not bool and value < least:
            raise ConfigError(f"{source}: throttles.{name} is {value}; it must be at least {least}")
    if config.min_session_timeout_ms > config.max_session_timeout_ms:
        raise ConfigError(
            f"{source}: the smallest session timeout ({config.min_session_timeout_ms} ms) is above the largest "
            f"({config.max_session_timeout_ms} ms); lower one or raise the other"
        )
    if config.election_resend_ms_min > config.election_resend_ms_max:
        raise ConfigError(f"{source}: election_resend_ms_min is above election_resend_ms_max; swap them")
    if config.limits.epoch_txns_max > Limits().epoch_txns_max:
        raise ConfigError(f"{source}: limits.epoch_txns_max is above {Limits().epoch_txns_max}; lower it")
    if config.snapshot_size_factor > 1:
        raise ConfigError(f"{source}: snapshot_size_factor is {config.snapshot_size_factor}; it must be at most 1")
    if config.snapshot_compression == "snappy" and find_spec("cramjam") is None:
        raise ConfigError(
            f"{source}: snapshot_compression is snappy, for which a library is needed that is not installed; run "
            "pip install 'trioquorum[snappy]', or choose gz or nothing"
        )
    if config.super_digest.count(":") != (1 if config.super_digest else 0):
        raise ConfigError(f"{source}: super_digest is no user:digest; make one from the password, or remove it")
    if config.emulate_353_ttl_nodes and any(spec.id > PEER_ID_353_MAX for spec in config.peers):
        raise ConfigError(
            f"{source}: emulate_353_ttl_nodes takes sessions of peers above {PEER_ID_353_MAX} for times to live; give "
            "the peers smaller ids, or remove it"
        )
    unknown = config.four_letter_words - FOUR_LETTER_WORDS
    if unknown:
        raise ConfigError(f"{source}: {', '.join(sorted(unknown))} is no four-letter word of ZooKeeper; remove it")
    secure = any(each.scheme == "tls" for each in config.client_addresses)
    check_tls(config.tls, source, wanted=secure)
    check_auth(config.auth, source, certificates=config.asks_for_certificates)
    if config.peers:
        check_peers(config.peers, source)


def check_peers(peers: Iterable[PeerSpec], source: str) -> None:
    """Refuse an ensemble that cannot work.

    Raises:
        ConfigError: an id or address used twice, no participant, a group missing.
    """
    peers = tuple(peers)
    ids: set[int] = set()
    used: dict[str, str] = {}
    for spec in peers:
        if not 0 <= spec.id <= PEER_ID_MAX:
            raise ConfigError(f"{source}: peer id {spec.id} is out of range; use 0 to {PEER_ID_MAX}")
        if spec.id in ids:
            raise ConfigError(f"{source}: peer id {spec.id} is used twice; give each peer its own id")
        ids.add(spec.id)
        if spec.weight < 0:
            raise ConfigError(f"{source}: peer {spec.id} has weight {spec.weight}; it must not be negative")
        addresses = {
            "quorum": spec.quorum,
            "election": spec.election,
            "observer master": spec.observer_master,
            "client": spec.client,
            "client (TLS)": spec.secure_client,
        }
        for kind, address in addresses.items():
            if address is not None:
                _claim(used, address, f"{kind} of peer {spec.id}", source)
    voters = [spec for spec in peers if spec.role == "participant"]
    if not voters:
        raise ConfigError(f"{source}: no peer is a participant; an ensemble needs at least one that votes")
    ungrouped = [spec.id for spec in voters if spec.group is None]
    if ungrouped and len(ungrouped) < len(voters):
        raise ConfigError(
            f"{source}: peer {ungrouped[0]} has no group, others have; give every participant one or none"
        )


def _claim(used: dict[str, str], address: Address, use: str, source: str) -> None:
    """Note that ``address`` is taken; clients may meet several peers at one wildcard address of different hosts."""
    if not use.startswith("client") and address.port == 0 and address.scheme != "memory":
        raise ConfigError(f"{source}: {use} is {address} without a port; other peers could not find it")
    if address.host in ("0.0.0.0", "::"):
        return
    if str(address) in used:
        raise ConfigError(f"{source}: {address} is both {used[str(address)]} and {use}; give each its own port")
    used[str(address)] = use


def _check_myid(data_dir: Path, my_id: int) -> None:
    """A data directory that ZooKeeper or an operator marked with another id is not ours."""
    file = data_dir / "myid"
    if not file.is_file():
        return
    found = read_text(file).strip()
    if found != str(my_id):
        raise ConfigError(f"{file}: says {found!r}, but this is peer {my_id}; use --id {found} or another --data-dir")


def _decode(path: Path) -> _PeersFile:
    text = read_text(path)
    try:
        return msgspec.toml.decode(text, type=_PeersFile)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {_explain(str(error))}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None


def _explain(error: str) -> str:
    """msgspec's finding, in the words of the file: ``unknown key peer[0].idd; remove it or correct it``."""
    found = re.fullmatch(r"(.*?)(?: - at `\$\.?(.*)`)?", error, re.DOTALL)
    what, where = (found[1], found[2] or "") if found else (error, "")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what):
        return f"unknown key {f'{where}.' if where else ''}{unknown[1]}; remove it or correct its spelling"
    if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
        return f"{f'{where}.' if where else ''}{missing[1]} is missing; add it"
    return f"{where}: {what}" if where else what


def _peer_spec(path: Path, index: int, table: _Peer) -> PeerSpec:
    def address(key: str, text: str) -> Address:
        try:
            found = Address.parse(text)
        except ConfigError as error:
            raise ConfigError(f"{path}: peer[{index}].{key}: {error}") from None
        if (found.scheme == "tls") != (key == "secure_client"):
            raise ConfigError(f"{path}: peer[{index}].{key}: {text!r}; only secure_client is like tls://127.0.0.1:2281")
        return found

    if table.admin is not None and not _is_http(table.admin):
        raise ConfigError(f"{path}: peer[{index}].admin: {table.admin!r} is not like http://127.0.0.1:8081")
    return PeerSpec(
        id=table.id,
        quorum=address("quorum", table.quorum),
        election=address("election", table.election),
        client=None if table.client is None else address("client", table.client),
        secure_client=None if table.secure_client is None else address("secure_client", table.secure_client),
        observer_master=None if table.observer_master is None else address("observer_master", table.observer_master),
        admin=table.admin,
        role=table.role,
        weight=table.weight,
        group=table.group,
    )


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False
