"""Keys of ``zoo.cfg`` that have no effect here, and why; and what an unknown key may have been meant to be."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

_NO_THREADS: Final = "one event loop serves everybody, there are no threads to count"
_NO_SWITCH: Final = "it is always on"
_NO_BATCHING: Final = "batches form by themselves while a flush is under way"
_NO_CACHE: Final = "replies are made without a cache"
_NO_WATCH_MANAGER: Final = "there is one kind of watch table, and it never has dead watchers to clean up"
_NO_BLOCKING: Final = "sockets are never waited for"
_NO_TLS: Final = "between peers TLS is not offered"
_NO_SASL: Final = "of SASL only DIGEST-MD5 is offered, to clients"
_NO_ADMIN: Final = "the admin port has no such setting"

WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "jvm.pause.*": "there is no JVM whose pauses to watch",
    "nio.numSelectorThreads": _NO_THREADS,
    "nio.numWorkerThreads": _NO_THREADS,
    "nio.directBufferBytes": _NO_THREADS,
    "nio.shutdownTimeout": _NO_THREADS,
    "quorum.cnxn.threads.size": _NO_THREADS,
    "commitProcessor.*": _NO_THREADS,
    "serverCnxnFactory": "there is one network stack, Trio's",
    "netty.*": "there is one network stack, Trio's",
    "flushDelay": _NO_BATCHING,
    "maxWriteQueuePollTime": _NO_BATCHING,
    "maxBatchSize": _NO_BATCHING,
    "txnLogSizeLimitInKb": "a log ends where a snapshot is taken, see snapCount and snapSizeLimitInKb",
    "datadir.autocreate": _NO_SWITCH,
    "serializeLastProcessedZxid.enabled": _NO_SWITCH,
    "closeSessionTxn.enabled": _NO_SWITCH,
    "leader.nodelay": _NO_SWITCH,
    "follower.nodelay": _NO_SWITCH,
    "syncEnabled": "an observer always keeps a log and snapshots",
    "observer.syncEnabled": "an observer always keeps a log and snapshots",
    "jute.maxbuffer.extrasize": "transactions have a bound of their own",
    "maxResponseCacheSize": _NO_CACHE,
    "maxGetChildrenResponseCacheSize": _NO_CACHE,
    "request_throttler.shutdownTimeout": "nothing waits in a queue when a server stops, clients ask the next one",
    "tcpKeepAlive": _NO_SWITCH,
    "watchManagerName": _NO_WATCH_MANAGER,
    "watcherCleanThreadsNum": _NO_WATCH_MANAGER,
    "watcherCleanThreshold": _NO_WATCH_MANAGER,
    "watcherCleanIntervalInSeconds": _NO_WATCH_MANAGER,
    "maxInProcessingDeadWatchers": _NO_WATCH_MANAGER,
    "bitHashCacheSize": _NO_WATCH_MANAGER,
    "quorumCnxnTimeoutMs": "pings tell who is gone",
    "electionPortBindRetry": "a port that is taken ends the server at once",
    "leader.ackLoggingFrequency": "acknowledgements are logged at --log-level trace",
    "leader.closeSocketAsync": _NO_BLOCKING,
    "learner.closeSocketAsync": _NO_BLOCKING,
    "learner.asyncSending": _NO_BLOCKING,
    "forward_learner_requests_to_commit_processor_disabled": _NO_SWITCH,
    "follower.skipLearnerRequestToNextProcessor": _NO_SWITCH,
    "messageTracker.*": "--log-level debug shows what peers tell each other",
    "testingonly.initialZxid": "tests set limits.epoch_txns_max in peers.toml",
    "multiAddress.*": "a server has one address",
    "metricsProvider.*": "mntr tells the metrics, and so does /metrics of the admin port",
    "portUnification": _NO_TLS,
    "sslQuorumReloadCertFiles": _NO_TLS,
    "ssl.quorum.*": _NO_TLS,
    "ssl.protocol": "ssl.enabledProtocols says which are spoken",
    "ssl.authProvider": "the subject of a client's certificate is its identity",
    "ssl.allowReverseDnsLookup": "clients have no names, only addresses",
    "fips-mode": "the system's OpenSSL has such a mode or not",
    "quorum.auth.*": _NO_SASL,
    "sasl.*": _NO_SASL,
    "kerberos.*": _NO_SASL,
    "authProvider.*": "what is offered needs no provider, and others are not offered",
    "IPAuthenticationProvider.usexforwardedfor": "an address that somebody claims to have is not believed",
    "admin.*": _NO_ADMIN,
    "audit.impl.class": "the audit log is part of the log",
}
"""Key → reason. A name that ends in ``*`` stands for all that begin so."""


def reason_without_effect(key: str) -> str | None:
    """Why this key of ZooKeeper has no effect here; ``None`` if it is none of them."""
    if key in WITHOUT_EFFECT:
        return WITHOUT_EFFECT[key]
    whole = (name for name in WITHOUT_EFFECT if name.endswith("*") and key.startswith(name[:-1]))
    family = max(whole, key=len, default=None)
    return None if family is None else WITHOUT_EFFECT[family]


def nearest(key: str, known: Iterable[str]) -> str | None:
    """Which of the known keys this unknown one looks like."""
    lower = {name.lower(): name for name in known}
    found = difflib.get_close_matches(key.lower(), lower, n=1, cutoff=0.75)
    return lower[found[0]] if found else None
