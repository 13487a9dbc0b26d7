"""The state of an ensemble, as its peers tell it by four-letter words (config §5)."""

from collections.abc import Iterable, Sequence

import msgspec
import trio

from trioquorum.config import PeerSpec
from trioquorum.errors import ConfigError
from trioquorum.transport import Address
from trioquorum.zab.quorum import QuorumConfig
from trioquorum.zab.reconfig import parse_config

ASK_TIMEOUT_S = 2.0
ANSWER_BYTES_MAX = 1 << 20
_WORDS = ("srvr", "mntr", "conf")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to ask. Without ``client`` the peer cannot be asked; ``id`` is unknown for a bare host."""

    client: Address | None
    id: int | None = None


class PeerStatus(msgspec.Struct, kw_only=True):
    """What one peer said. ``role`` is what it calls itself, ``not serving``, ``unreachable`` or ``unknown``.

    ``lag`` counts the transactions the peer is behind the leader, at least, when it is still in an older epoch.
    ``member`` is what the configuration in force makes it: ``participant``, ``observer``, ``no``, or unknown.
    """

    id: int | None
    address: str
    role: str
    epoch: int | None = None
    zxid: str | None = None
    lag: int | None = None
    sessions: int | None = None
    member: str | None = None
    problem: str | None = None


class EnsembleStatus(msgspec.Struct, kw_only=True):
    """All peers, in the order they were named, and whether enough of them serve."""

    quorum: bool
    peers: list[PeerStatus]


def targets_of(peers: Iterable[PeerSpec]) -> list[Target]:
    """Whom to ask about the ensemble of a ``peers.toml``; a wildcard client address is reached at the quorum host."""

    return [
        Target(client=None if spec.client is None else _reachable(spec.client, spec.quorum), id=spec.id)
        for spec in peers
    ]


def _reachable(client: Address, quorum: Address) -> Address | None:
    if client.scheme != "tcp":
        return None
    if client.host in ("0.0.0.0", "::"):
        return msgspec.structs.replace(client, host=quorum.host)
    return client


async def look(
    targets: Sequence[Target], ensemble: QuorumConfig | None = None, timeout_s: float = ASK_TIMEOUT_S
) -> EnsembleStatus:
    """Ask everybody at once, then those that only the ensemble's own configuration names; each within ``timeout_s``.

    That configuration says what a quorum is, if all its members could be asked; else ``ensemble`` does, and without
    it a majority of those asked that are not observers.
    """
    peers, told = await _ask_all(targets, timeout_s)
    live = max(told, key=lambda config: config.version, default=None)
    if live is not None:
        known = {peer.id for peer in peers}
        more, _ = await _ask_all([it for it in _members(live) if it.id not in known], timeout_s)
        peers += more
        for peer in peers:
            peer.member = _membership_of(peer, live)
        if live.members.keys() <= {peer.id for peer in peers}:
            ensemble = live
    _judge(peers)
    return EnsembleStatus(quorum=_has_quorum(peers, ensemble), peers=peers)


async def membership_of(targets: Sequence[Target], timeout_s: float = ASK_TIMEOUT_S) -> QuorumConfig | None:
    """The newest configuration that any of them serves in; ``None`` when nobody tells."""
    _, told = await _ask_all(targets, timeout_s)
    return max(told, key=lambda config: config.version, default=None)


async def _ask_all(targets: Sequence[Target], timeout_s: float) -> tuple[list[PeerStatus], list[QuorumConfig]]:
    """What each of them says of itself, and the configurations of those that serve in an ensemble."""
    answers: dict[tuple[int, str], str | None] = {}

    async def keep(index: int, address: Address, word: str) -> None:
        answers[index, word] = await ask(address, word, timeout_s)

    async with trio.open_nursery() as nursery:
        for index, target in enumerate(targets):
            if target.client is not None:
                for word in _WORDS:
                    nursery.start_soon(keep, index, target.client, word)
    peers, told = [], []
    for index, target in enumerate(targets):
        srvr, mntr, conf = (answers.get((index, word)) for word in _WORDS)
        peers.append(_status(target, srvr, mntr))
        my_id, config = _configuration(conf or "")
        if peers[-1].id is None:
            peers[-1].id = my_id
        if config is not None:
            told.append(config)
    return peers, told


def _configuration(conf: str) -> tuple[int | None, QuorumConfig | None]:
    """What ``conf`` says a peer's number is, and its ensemble, unless it is a standalone server or does not tell."""
    settings, membership, text = conf.partition("membership: ")
    if not membership:
        return None, None
    said = dict(line.split("=", 1) for line in settings.splitlines() if "=" in line)
    try:
        return int(said.get("serverId", "")), parse_config(text)
    except (ValueError, ConfigError):
        return None, None


def _members(config: QuorumConfig) -> list[Target]:
    """Members whose client address the configuration tells."""
    found = []
    for sid, member in sorted(config.members.items()):
        if member.client is not None:
            client = _reachable(Address.parse(member.client), Address.parse(member.quorum))
            found.append(Target(client=client, id=sid))
    return found


def _membership_of(peer: PeerStatus, config: QuorumConfig) -> str | None:
    if peer.id is None:
        return None
    member = config.members.get(peer.id)
    return "no" if member is None else member.role


async def ask(address: Address, word: str, timeout_s: float = ASK_TIMEOUT_S) -> str | None:
    """The answer to one four-letter word, ``None`` when there was none in time."""
    answer = b""
    with trio.move_on_after(timeout_s):
        await trio.lowlevel.checkpoint()
        try:
            async with await trio.open_tcp_stream(address.host, address.port) as stream:
                await stream.send_all(word.encode())
                while len(answer) < ANSWER_BYTES_MAX and (chunk := await stream.receive_some()):
                    answer += chunk
        except (OSError, trio.BrokenResourceError):
            return None
        return answer.decode(errors="replace")
    return None


def _status(target: Target, srvr: str | None, mntr: str | None) -> PeerStatus:
    """One peer's row from its two answers."""
    status = PeerStatus(id=target.id, address="-" if target.client is None else str(target.client), role="unknown")
    if target.client is None:
        status.problem = "no tcp client port to ask at"
    elif srvr is None:
        status.role, status.problem = "unreachable", "nobody answers"
    elif "not currently serving" in srvr:
        status.role, status.problem = "not serving", "looks for a leader"
    elif "Mode: " not in srvr:
        first = (srvr.splitlines() or ["nothing"])[0]
        status.problem = f"srvr answers: {first}"
    else:
        said = dict(line.split(": ", 1) for line in srvr.splitlines() if ": " in line)
        status.role, status.zxid = said["Mode"], said.get("Zxid")
        zxid = _zxid(status)
        status.epoch = None if zxid is None else zxid >> 32
        more = dict(line.split("\t", 1) for line in (mntr or "").splitlines() if "\t" in line)
        sessions = more.get("zk_global_sessions", "")
        status.sessions = int(sessions) if sessions.isdecimal() else None
        if more.get("zk_disk_nearly_full") == "1":
            status.problem = "its disk is nearly full"
    return status


def _zxid(status: PeerStatus) -> int | None:
    try:
        return int(status.zxid or "", 16)
    except ValueError:
        return None


def _judge(peers: Sequence[PeerStatus]) -> None:
    """Fill in the lag, and what only shows when peers are compared."""
    leaders = [peer for peer in peers if peer.role == "leader" and peer.epoch is not None]
    if not leaders:
        return
    leader = max(leaders, key=lambda peer: peer.epoch or 0)
    latest = _zxid(leader) or 0
    for peer in peers:
        zxid = _zxid(peer)
        if zxid is None:
            continue
        if peer is not leader and peer.role in ("leader", "standalone"):
            peer.problem = f"is a {peer.role} beside the leader of epoch {leader.epoch}"
        same_epoch = zxid >> 32 == latest >> 32
        peer.lag = max(0, latest - zxid if same_epoch else latest & 0xFFFFFFFF if zxid < latest else 0)


def _has_quorum(peers: Sequence[PeerStatus], ensemble: QuorumConfig | None) -> bool:
    """Whether a leader and a quorum with it serve, or one server alone.

    A leader's own word is not enough: it may not have noticed yet that the others left.
    """
    if [peer.role for peer in peers] == ["standalone"]:
        return True
    serving = [peer for peer in peers if peer.role in ("leader", "follower")]
    if not any(peer.role == "leader" for peer in serving):
        return False
    if ensemble is not None:
        return ensemble.contains_quorum([peer.id for peer in serving if peer.id is not None])
    return len(serving) > sum(peer.role != "observer" for peer in peers) // 2
