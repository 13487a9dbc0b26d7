"""What a learner's machine asks its driver to do (quorum-protocol §11–§13): each finished before the next begins."""

import msgspec

from trioquorum.wire.quorum import QuorumPacket
from trioquorum.zab.quorum import QuorumConfig


class SetAcceptedEpoch(msgspec.Struct, frozen=True, gc=False):
    """Write acceptedEpoch durably."""

    epoch: int


class SetCurrentEpoch(msgspec.Struct, frozen=True, gc=False):
    """Write currentEpoch durably."""

    epoch: int


class SendPacket(msgspec.Struct, frozen=True, gc=False):
    """Send to the leader."""

    packet: QuorumPacket


class Truncate(msgspec.Struct, frozen=True, gc=False):
    """Cut log and database back so that ``zxid`` is the last transaction; a failure stops the peer."""

    zxid: int


class LoadSnapshot(msgspec.Struct, frozen=True, gc=False):
    """Replace the database by the snapshot that now arrives, durably, as of ``zxid``; then call ``snapshot_loaded``."""

    zxid: int


class Log(msgspec.Struct, frozen=True, gc=False):
    """Append these (zxid, payload) to the log. When they are flushed, ask ``acknowledge`` what to tell the leader."""

    records: list[tuple[int, bytes]]


class FlushLog(msgspec.Struct, frozen=True, gc=False):
    """Wait until all that was logged is on disk."""


class Commit(msgspec.Struct, frozen=True, gc=False):
    """Apply these (zxid, payload) in order; each was in an earlier ``Log``."""

    records: list[tuple[int, bytes]]


class Established(msgspec.Struct, frozen=True, gc=False):
    """The leader leads a quorum in ``epoch``: serve clients."""

    epoch: int


class SetLastSeen(msgspec.Struct, frozen=True):
    """Note a proposed configuration durably; it was proposed before anything that later effects log."""

    config: QuorumConfig


class TakeConfig(msgspec.Struct, frozen=True):
    """Note durably what the leader sees last, in place of whatever was proposed here before."""

    config: QuorumConfig


class Activate(msgspec.Struct, frozen=True):
    """This configuration is committed: note that durably, then apply ``payload`` if there is one.

    After that the role ends if the configuration gives this peer another role or leader. ``designated`` is who is to
    lead it, ``None`` where an election would have to decide.
    """

    config: QuorumConfig
    designated: int | None = None
    payload: bytes | None = None


class AnswerPing(msgspec.Struct, frozen=True, gc=False):
    """Send PING with this zxid back, with the sessions touched since the last one; the leader may refuse writes now."""

    zxid: int
    refuses_writes: bool = False


class Revalidated(msgspec.Struct, frozen=True, gc=False):
    """The leader's answer whether a session lives; ``zxid`` is the last it had proposed then (−1: it did not say)."""

    session: int
    valid: bool
    zxid: int


class SyncDone(msgspec.Struct, frozen=True, gc=False):
    """The oldest pending sync is complete once all ``Commit`` before this are applied."""


Effect = (
    SetAcceptedEpoch
    | SetCurrentEpoch
    | SendPacket
    | Truncate
    | LoadSnapshot
    | Log
    | FlushLog
    | Commit
    | Established
    | SetLastSeen
    | TakeConfig
    | Activate
    | AnswerPing
    | Revalidated
    | SyncDone
)
