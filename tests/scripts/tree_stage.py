"""Commands of scripts about the leader's checks, the tree, and replay over a snapshot that was fuzzy."""

from collections.abc import Callable, Iterator

from tests.scripts.runner import Command
from tests.tree.kit import Connection, Server, at, contents, create, multi, set_data
from tests.zab.kit import show, zx
from trioquorum.errors import CorruptSnapshot
from trioquorum.invariants import InvariantViolation
from trioquorum.storage.applying import CommittedLog
from trioquorum.storage.snapshot import SnapshotParser, body_chunks
from trioquorum.tree.apply import Applied
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.sessions import SessionIds
from trioquorum.wire.jute import Record
from trioquorum.wire.ops import Op
from trioquorum.wire.records import Acl, PathVersionRequest
from trioquorum.wire.txn import CloseSessionTxn, ErrorTxn, MultiTxn, Txn, decode_txn

OPS = {"create": Op.CREATE, "set": Op.SET_DATA, "delete": Op.DELETE, "check": Op.CHECK, "close": Op.CLOSE_SESSION}
EPHEMERAL = 1


class Ear(Connection):
    """Says which state of the tree a watcher would read."""

    def __init__(self, tree: DataTree, heard: list[str]) -> None:
        super().__init__()
        self._tree = tree
        self._heard = heard

    def notify(self, event_type: int, path: str, zxid: int) -> None:
        there = [other for other in ("/a", "/b", "/c") if other in self._tree.nodes]
        self._heard.append(f"told of {path}: the tree is at {self._tree.last_zxid} and has {' '.join(there)}")


class TreeStage:
    """A standalone server without sockets; zxids count from 1. ``prepare`` proposes, ``apply`` also commits."""

    def __init__(self) -> None:
        self._server = Server()
        self._clients: dict[int, Connection] = {}
        self._history: list[Txn] = []
        self._proposed: list[Txn] = []
        self._heard: list[str] = []
        self._snapshot: Iterator[bytes] = iter(())
        self._written: list[bytes] = []
        self._begun = 0

    def run(self, command: Command) -> str:
        do: Callable[..., str | None] = getattr(self, command.name.replace("-", "_"))
        try:
            return do(*command.words, **command.options) or ""
        except (InvariantViolation, CorruptSnapshot) as error:
            return f"{type(error).__name__}: {error}"

    # Requests

    def session(self, session: str) -> None:
        self._clients[int(session)] = self._server.connect(int(session))
        self._history = []

    def prepare(self, session: str, *words: str) -> str:
        """``prepare 5 create /a``, ``multi create /a , delete /b``: what is proposed for it."""
        client = self._clients[int(session)]
        op, body = self._request(words)
        txn = self._server.prepare(client, op, body)
        self._proposed.append(txn)
        return f"{txn.header.zxid}: {_show(txn)}"

    def commit(self) -> str | None:
        """Commit all that was prepared, from the bytes that would be logged."""
        for txn in self._proposed:
            self._apply(txn)
        self._proposed.clear()
        return self._told()

    def apply(self, session: str, *words: str) -> str:
        said = self.prepare(session, *words)
        told = self.commit()
        return said + (f"\n{told}" if told else "")

    def _apply(self, txn: Txn) -> Applied:
        self._history.append(txn)
        return self._server.commit(txn)

    def _told(self) -> str | None:
        told = "\n".join(self._heard)
        self._heard.clear()
        return told or None

    def _request(self, words: tuple[str, ...]) -> tuple[int, bytes | Record]:
        if words[0] != "multi":
            return self._one(words)
        parts: list[tuple[int, Record]] = []
        one: list[str] = []
        for word in (*words[1:], ","):
            if word == ",":
                op, body = self._one(tuple(one))
                assert isinstance(body, Record)
                parts.append((op, body))
                one.clear()
            else:
                one.append(word)
        return Op.MULTI, multi(*parts)

    @staticmethod
    def _one(words: tuple[str, ...]) -> tuple[int, bytes | Record]:
        name, *rest = words
        if name == "close":
            return Op.CLOSE_SESSION, b""
        path = rest[0]
        match name:
            case "create":
                acl = [Acl(1, "ip", rest[-1])] if "for" in rest else None
                flags = EPHEMERAL if "ephemeral" in rest else 0
                return Op.CREATE, create(path, flags=flags, **({"acl": acl} if acl else {}))  # type: ignore[arg-type]
            case "set":
                return Op.SET_DATA, set_data(path, b"x")
            case "check":
                return Op.CHECK, PathVersionRequest(path, int(rest[1]) if len(rest) > 1 else -1)
            case _:
                return OPS[name], at(path)

    # Watching

    def watch(self, path: str) -> None:
        self._server.tree.watches.add_data(path, Ear(self._server.tree, self._heard))

    def tree(self) -> str:
        return f"at {self._server.tree.last_zxid}: {_paths(self._server.tree)}"

    # Snapshots

    def snapshot_begins(self) -> str:
        """Its zxid is taken and its front is written: sessions and ACLs."""
        self._begun = self._server.tree.last_zxid
        self._snapshot = body_chunks(self._server.tree, 1)
        self._written = [next(self._snapshot)]
        return f"snapshot of {self._begun}"

    def snapshot_ends(self) -> None:
        """Only now the nodes are written, as they are by now."""
        self._written += self._snapshot

    def replay(self) -> str:
        """A tree of that snapshot, and the log behind its zxid."""
        tree = DataTree()
        parser = SnapshotParser(tree, body=True)
        for chunk in self._written:
            parser.feed(chunk)
        parser.finish()
        tree.last_zxid = self._begun
        loaded = _paths(tree)
        for txn in self._history:
            if txn.header.zxid > self._begun:
                tree.apply(decode_txn(txn.encode()))
        same = contents(tree) == contents(self._server.tree) and tree.sessions == self._server.tree.sessions
        return f"loaded {loaded}\nreplayed {_paths(tree)}: {'the same tree' if same else 'another tree'}"

    # Numbers

    def ids(self, *, server: str, clock_ms: str) -> str:
        ids = SessionIds(int(server), int(clock_ms))
        one, two = ids.next(), ids.next()
        return f"{one} then {two}, server {one >> 56 & 0xFF}"

    def committed_log(self, *zxids: str) -> str:
        """The transactions that would be served to others."""
        log = CommittedLog(100)
        for text in zxids:
            log.add((zx(text), b""))
        return f"serves {' '.join(show(zxid) for zxid, _ in log.records())}"


def _show(txn: Txn) -> str:
    record = txn.record
    if isinstance(record, ErrorTxn):
        return f"error {record.err}"
    if isinstance(record, MultiTxn):
        parts = record.txns or []
        inner = [
            f"error {ErrorTxn.decode(part.data or b'').err}" if part.type == Op.ERROR else Op(part.type).name.lower()
            for part in parts
        ]
        return f"multi of {', '.join(inner)}"
    if isinstance(record, CloseSessionTxn):
        return f"close_session, which deletes {' '.join(record.paths or ()) or 'nothing'}"
    return Op(txn.header.type).name.lower()


def _paths(tree: DataTree) -> str:
    paths = [path for path in sorted(tree.nodes) if path != "/" and not path.startswith("/zookeeper")]
    return " ".join(path + _mark(tree, path) for path in paths) or "nothing"


def _mark(tree: DataTree, path: str) -> str:
    """A star for an ephemeral; whose ACL it has, if that is not open to all."""
    node = tree.nodes[path]
    try:
        ids = [acl.id for acl in tree.acls.get(node.acl) if acl.id and acl.id != "anyone"]
    except CorruptSnapshot:
        ids = ["unknown"]
    return ("*" if node.owner else "") + (f"({','.join(ids)})" if ids else "")
