"""Every exception trioquorum raises on purpose, and ZooKeeper's result codes.

Errors say whose fault they are; each docstring says who raises it and what the catcher does with it.
"""

from enum import IntEnum


class TrioquorumError(Exception):
    """Base of everything raised on purpose."""


class LocalProtocolError(TrioquorumError):
    """We tried to send what the protocol forbids: our bug."""


class PeerProtocolError(TrioquorumError):
    """The other end broke the protocol (wire/, zab/): drop its link, keep serving."""


class FrameRefused(PeerProtocolError):
    """A frame of a forbidden length was announced (wire/framing): serve ``frames``, which came before it, and close."""

    def __init__(self, size: int, limit: int, frames: list[bytes]) -> None:
        super().__init__(f"frame of {size} bytes, at most {limit} are taken")
        self.size = size
        self.limit = limit
        self.frames = frames


class LinkClosed(TrioquorumError):
    """The link is gone (transports): redial or step down."""


class ConnectFailed(LinkClosed):
    """Nobody answered at an address (transports): back off and dial again."""


class ConfigError(TrioquorumError):
    """A configuration that cannot be used; the message names file and key path or line, and what to do."""


class StorageError(TrioquorumError):
    """A data directory that cannot be used or was damaged; the message names the file and what to do."""


class CorruptLog(StorageError):
    """A damaged record that is not a torn tail: start-up stops, nothing is skipped."""


class CorruptSnapshot(StorageError):
    """A snapshot whose content or checksum is wrong: the next older one is tried."""


class DiskFailed(StorageError):
    """A write or flush failed (storage/): fatal for the peer, never retried on the same file."""


class DiskFull(DiskFailed):
    """A write did not fit (storage/), and what is on disk is known: start again from it when there is room."""


class RoleEnded(TrioquorumError):
    """The present role cannot go on (peer/): the role's subtree ends and the peer is LOOKING again."""


class Code(IntEnum):
    """ZooKeeper result codes (client-protocol §9)."""

    OK = 0
    SYSTEMERROR = -1
    RUNTIMEINCONSISTENCY = -2
    DATAINCONSISTENCY = -3
    CONNECTIONLOSS = -4
    MARSHALLINGERROR = -5
    UNIMPLEMENTED = -6
    OPERATIONTIMEOUT = -7
    BADARGUMENTS = -8
    UNKNOWNSESSION = -12
    NEWCONFIGNOQUORUM = -13
    RECONFIGINPROGRESS = -14
    APIERROR = -100
    NONODE = -101
    NOAUTH = -102
    BADVERSION = -103
    NOCHILDRENFOREPHEMERALS = -108
    NODEEXISTS = -110
    NOTEMPTY = -111
    SESSIONEXPIRED = -112
    INVALIDCALLBACK = -113
    INVALIDACL = -114
    AUTHFAILED = -115
    SESSIONMOVED = -118
    NOTREADONLY = -119
    EPHEMERALONLOCALSESSION = -120
    NOWATCHER = -121
    REQUESTTIMEOUT = -122
    RECONFIGDISABLED = -123
    SESSIONCLOSEDREQUIRESASLAUTH = -124
    QUOTAEXCEEDED = -125
    THROTTLEDOP = -127


class RequestFailed(TrioquorumError):
    """A client's request fails with a result code (tree/, pipeline/): the code goes into the reply."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class MemberIdTooLarge(RequestFailed):
    """A reconfiguration (zab/reconfig) names an id that only we refuse: told to nobody who may not reconfigure."""

    def __init__(self) -> None:
        super().__init__(Code.BADARGUMENTS)


class TransactionFailed(RequestFailed):
    """A multi was rolled back (client/): ``code`` is why, ``at`` the operation it hit, ``codes`` one per operation."""

    def __init__(self, codes: list[Code]) -> None:
        # Operations before the culprit carry OK, those behind it RUNTIMEINCONSISTENCY (client-protocol §7).
        self.at = next(i for i, code in enumerate(codes) if code is not Code.OK)
        super().__init__(codes[self.at])
        self.codes = codes
