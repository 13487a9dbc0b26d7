"""Every key that ZooKeeper knows does here what its row says: it is in effect, warned of with a reason, or refused."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from trioquorum.config import ServerConfig, load_peers_toml
from trioquorum.errors import ConfigError
from trioquorum.limits import Limits, Throttles
from trioquorum.settings import Settings
from trioquorum.zoo_admin import ADMIN as ADMIN_KEYS
from trioquorum.zoo_cfg import load_zoo_cfg
from trioquorum.zoo_inert import WITHOUT_EFFECT, reason_without_effect
from trioquorum.zoo_keys import LIMITS, PROTECTIONS, SETTINGS, THROTTLES
from trioquorum.zoo_security import SECURITY

ENSEMBLE = """\
dataDir={data}
clientPort=2181
initLimit=10
syncLimit=5
server.1=zoo1:2888:3888
server.2=zoo2:2888:3888
"""

PEER = """
[[peer]]
id = 1
quorum = "tcp://127.0.0.1:2881"
election = "tcp://127.0.0.1:3881"
"""

IN_EFFECT = """
dataDir=/elsewhere
dataLogDir=/elsewhere
clientPort=2182
clientPortAddress=10.0.0.1
observerMasterPort=2191
tickTime=1000
initLimit=11
syncLimit=6
connectToLearnerMasterLimit=4
minSessionTimeout=1
maxSessionTimeout=1000000
maxClientCnxns=7
standaloneEnabled=false
reconfigEnabled=true
autopurge.snapRetainCount=5
autopurge.purgeInterval=24
oraclePath=/run/oracle
preAllocSize=1024
snapCount=1000
snapSizeLimitInKb=1
commitLogCount=600
snapshotSizeFactor=0.5
snapshot.compression.method=gz
digest.enabled=false
forceSync=no
fsync.warningthresholdms=50
snapshot.trust.empty=true
db.autocreate=false
forceSnapshotSync=true
jute.maxbuffer=2000000
netty.server.outstandingHandshake.limit=7
maxCnxns=70
globalOutstandingLimit=10
clientPortListenBacklog=10
localSessionsEnabled=true
localSessionsUpgradingEnabled=true
request_throttle_max_requests=1
request_throttle_stall_time=1
request_throttle_drop_stale=false
request_stale_connection_check=false
request_stale_latency_check=true
throttled_op_wait_time=1
largeRequestMaxBytes=1
largeRequestThreshold=1
connection_throttle_tokens=1
connection_throttle_fill_time=2
connection_throttle_fill_count=2
connection_throttle_freeze_time=1
connection_throttle_drop_increase=0.1
connection_throttle_drop_decrease=0.1
connection_throttle_decrease_ratio=1
connection_throttle_weight_enabled=true
connection_throttle_global_session_weight=1
connection_throttle_local_session_weight=2
connection_throttle_renew_session_weight=3
clientTcpKeepAlive=true
nio.sessionlessCnxnTimeout=700
4lw.commands.whitelist=stat
readonlymode.enabled=true
cnxTimeout=3000
fastleader.minNotificationInterval=100
fastleader.maxNotificationInterval=6000
leader.maxTimeToWaitForEpoch=800
leader.maxConcurrentSnapSyncs=2
leader.maxConcurrentDiffSyncs=0
leaderServes=no
quorumListenOnAllIPs=true
leaderConnectDelayDuringRetryMs=20
observer.reconnectDelayMs=300
observer.election.DelayMs=0
observerMaster.sizeLimit=1000000
enforceQuota=true
enableEagerACLCheck=true
extendedTypesEnabled=true
emulate353TTLNodes=true
znode.container.checkIntervalMs=1
znode.container.maxPerMinute=1
znode.container.maxNeverUsedIntervalMs=1
DigestAuthenticationProvider.superDigest=super:hash
DigestAuthenticationProvider.enabled=false
DigestAuthenticationProvider.digestAlg=SHA-256
X509AuthenticationProvider.superUser=CN=root
superUser=root
superUser.2=root2
allowSaslFailedClients=true
letAnySaslUserDoX=all
ensembleAuthName=mine
skipACL=yes
audit.enable=true
admin.enableServer=true
admin.serverPort=8081
"""

NO_EFFECT = """
syncEnabled=false
portUnification=true
sslQuorumReloadCertFiles=true
quorum.auth.kerberos.servicePrincipal=zk/host
quorum.auth.learner.saslLoginContext=Learner
quorum.auth.server.saslLoginContext=Server
quorum.cnxn.threads.size=30
multiAddress.enabled=true
multiAddress.reachabilityCheckEnabled=false
multiAddress.reachabilityCheckTimeoutMs=10
metricsProvider.className=org.example.Provider
metricsProvider.httpPort=7000
metricsProvider.exportJvmInfo=true
jvm.pause.monitor=true
jvm.pause.sleep.time.ms=1
jvm.pause.warn-threshold.ms=1
jvm.pause.info-threshold.ms=1
txnLogSizeLimitInKb=1
flushDelay=1
maxWriteQueuePollTime=1
maxBatchSize=1
datadir.autocreate=false
serializeLastProcessedZxid.enabled=false
closeSessionTxn.enabled=false
jute.maxbuffer.extrasize=1024
request_throttler.shutdownTimeout=1
nio.numSelectorThreads=1
nio.numWorkerThreads=1
nio.shutdownTimeout=1
nio.directBufferBytes=1
maxResponseCacheSize=1
maxGetChildrenResponseCacheSize=1
tcpKeepAlive=true
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
netty.advancedFlowControl.enabled=true
netty.server.earlyDropSecureConnectionHandshakes=true
watchManagerName=org.example.Manager
watcherCleanThreadsNum=1
watcherCleanThreshold=1
watcherCleanIntervalInSeconds=1
maxInProcessingDeadWatchers=1
bitHashCacheSize=1
quorumCnxnTimeoutMs=1
electionPortBindRetry=1
leader.ackLoggingFrequency=1
leader.closeSocketAsync=true
learner.closeSocketAsync=true
learner.asyncSending=true
leader.nodelay=false
follower.nodelay=false
observer.syncEnabled=false
commitProcessor.numWorkerThreads=1
commitProcessor.shutdownTimeout=1
commitProcessor.maxReadBatchSize=1
commitProcessor.maxCommitBatchSize=2
forward_learner_requests_to_commit_processor_disabled=true
follower.skipLearnerRequestToNextProcessor=true
messageTracker.BufferSize=1
messageTracker.Enabled=true
testingonly.initialZxid=1
IPAuthenticationProvider.usexforwardedfor=true
authProvider.1=org.example.Provider
kerberos.removeHostFromPrincipal=true
kerberos.removeRealmFromPrincipal=true
kerberos.canonicalizeHostNames=true
ssl.protocol=TLSv1.2
ssl.allowReverseDnsLookup=true
ssl.authProvider=mine
ssl.quorum.keyStore.location=/key
ssl.quorum.hostnameVerification=false
fips-mode=false
audit.impl.class=org.example.Audit
admin.idleTimeout=1
admin.commandURL=/c
admin.httpVersion=20
admin.portUnification=true
admin.forceHttps=true
admin.needClientAuth=true
admin.snapshot.enabled=false
admin.restore.enabled=false
admin.rateLimiterIntervalInMS=1
"""

REFUSED = """
ssl.context.supplier.class=org.example.Supplier
ssl.ocsp=true
sslQuorum=true
quorum.auth.enableSasl=true
quorum.auth.serverRequireSasl=true
quorum.auth.learnerRequireSasl=true
sasl.requireKerberosConfig=true
"""

TOGETHER = frozenset(
    ("java.security.auth.login.config", "sasl.serverconfig", "sessionRequireClientSASLAuth")
    + ("enforce.auth.enabled", "enforce.auth.schemes", "client.certReload", "client.portUnification")
    + tuple(name for name in SECURITY if name.startswith("ssl."))
)
"""Keys that need others, or a file: ``test_security`` has them."""


def lines(text: str) -> list[str]:
    return text.split()


Load = Callable[[str], tuple[ServerConfig, list[str]]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Read an ensemble's zoo.cfg with one more line."""
    for name in ("data", "elsewhere"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "myid").write_text("1")
    path = tmp_path / "zoo.cfg"

    def write_and_load(line: str) -> tuple[ServerConfig, list[str]]:
        text = ENSEMBLE.format(data=tmp_path / "data") + line.replace("/elsewhere", f"{tmp_path}/elsewhere")
        path.write_text(text + "\n")
        return load_zoo_cfg(path)

    return write_and_load


@pytest.mark.parametrize("line", lines(IN_EFFECT))
def test_a_key_in_effect_changes_the_configuration(load: Load, line: str) -> None:
    without, _ = load("")
    config, warnings = load(line)
    assert warnings == []
    assert config != without
    assert load(f"zookeeper.{line}") == (config, [])


@pytest.mark.parametrize("line", lines(NO_EFFECT))
def test_a_key_without_effect_is_warned_of_with_the_reason(load: Load, line: str) -> None:
    without, _ = load("")
    name = line.partition("=")[0]
    reason = reason_without_effect(name)
    assert reason
    for prefix in ("", "zookeeper."):
        config, warnings = load(prefix + line)
        assert config == without
        assert [warning.partition(": ")[2] for warning in warnings] == [f"{prefix}{name} has no effect here: {reason}"]


@pytest.mark.parametrize("line", lines(REFUSED))
def test_a_protection_that_is_not_offered_is_refused(load: Load, line: str) -> None:
    name = line.partition("=")[0]
    for prefix in ("", "zookeeper."):
        with pytest.raises(ConfigError, match=r"zoo.cfg:7: .* asks for a protection that is not offered; remove it"):
            load(prefix + line)
    assert load(f"{name}=")[1] == []
    assert load(f"{name}=false")[1] == []


def test_each_key_is_of_one_kind() -> None:
    names = [
        *SETTINGS,
        *LIMITS,
        *THROTTLES,
        *PROTECTIONS,
        *(SECURITY - TOGETHER),
        *WITHOUT_EFFECT,
        *(ADMIN_KEYS - {"admin.serverAddress"}),
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    rows = [line.partition("=")[0] for line in lines(IN_EFFECT + NO_EFFECT + REFUSED)]
    assert [name for name, count in Counter(rows).items() if count > 1] == []
    untold = [name for name in names if not any(row == name or row.startswith(name.rstrip("*")) for row in rows)]
    assert untold == []


ADMIN = {
    "": (None, 0),
    "admin.enableServer=true": ("http://127.0.0.1:8080", 0),
    "admin.serverPort=8081": ("http://127.0.0.1:8081", 0),
    "admin.serverPort=8081\nadmin.enableServer=false": (None, 0),
    "admin.serverPort=8081\nadmin.serverAddress=localhost": ("http://127.0.0.1:8081", 0),
    "admin.serverPort=8081\nadmin.serverAddress=0.0.0.0": ("http://127.0.0.1:8081", 1),
    "admin.serverAddress=10.0.0.1": (None, 0),
}


@pytest.mark.parametrize("text", ADMIN)
def test_the_admin_port_is_there_when_asked_for_and_on_loopback(load: Load, text: str) -> None:
    config, warnings = load(text)
    assert config.me is not None
    url, warned = ADMIN[text]
    assert config.me.admin == url
    assert [spec.admin for spec in config.peers if spec.id != config.my_id] == [None] * (len(config.peers) - 1)
    assert (
        len([line for line in warnings if "--admin-token-file opens it to others" in line]) == warned == len(warnings)
    )


SAMPLES = {
    "four_letter_words": ["ruok"],
    "super_digest": "super:hash",
    "max_session_timeout_ms": 100_000,
    "snapshot_compression": "gz",
}


def other_than(name: str, default: object) -> object:
    """A value that is not the default, as TOML has it."""
    if name in SAMPLES:
        return SAMPLES[name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default - 1 if default > 1 else default + 1
    return default / 2 if isinstance(default, float) else "/some/where"


FIELDS = [
    (table, field.name, other_than(field.name, field.default))
    for table, kind in (("ensemble", Settings), ("limits", Limits), ("throttles", Throttles))
    for field in msgspec.structs.fields(kind)
]


@pytest.mark.parametrize(("table", "name", "value"), FIELDS)
def test_every_setting_and_limit_can_be_set_in_both_files(
    load: Load, tmp_path: Path, table: str, name: str, value: object
) -> None:
    path = tmp_path / "peers.toml"
    path.write_text(f"[{table}]\n{name} = {json.dumps(value)}\n{PEER}")
    config = load_peers_toml(path, 1, tmp_path / "data")
    holder = {"ensemble": config, "limits": config.limits, "throttles": config.throttles}[table]
    assert getattr(holder, name) == (frozenset(value) if isinstance(value, list) else value)
    if name not in {*(field for field, _ in (*SETTINGS.values(), *THROTTLES.values())), *LIMITS.values()}:
        config, warnings = load(f"trioquorum.{name}={json.dumps(value)}")
        assert warnings == []
        assert getattr(config.limits if table == "limits" else config, name) == value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trioquorum.tick_time_ms=1", "trioquorum.tick_time_ms has a name in ZooKeeper; write tickTime"),
        ("trioquorum.snap_count=1", "trioquorum.snap_count has a name in ZooKeeper; write snapCount"),
        ("trioquorum.speed=1", "there is no setting 'speed'; remove trioquorum.speed or correct its spelling"),
        ("trioquorum.redial_ms_min=x", "trioquorum.redial_ms_min is 'x'; write a value of type int"),
    ],
)
def test_a_wrong_house_name_is_refused(load: Load, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"zoo.cfg:7: {message}"):
        load(line)


def test_snapshots_are_compressed_by_what_is_known_and_installed(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "snapshot.compression.method"
    assert load(f"{line}=snappy")[0].snapshot_compression == "snappy"
    assert load(f"{line}=")[0].snapshot_compression == ""
    with pytest.raises(ConfigError, match=f"zoo.cfg:7: {line} is 'zip'; write gz or snappy, or leave it empty"):
        load(f"{line}=zip")
    monkeypatch.setitem(sys.modules, "cramjam", None)  # as if it were not there
    with pytest.raises(ConfigError, match=rf"zoo.cfg.*{line} is snappy.*pip install 'trioquorum\[snappy\]'"):
        load(f"{line}=snappy")


def test_what_a_key_sets_exists() -> None:
    assert {name for name, _ in SETTINGS.values()} <= set(Settings.__struct_fields__)
    assert set(LIMITS.values()) <= set(Limits.__struct_fields__)
    assert {name for name, _ in THROTTLES.values()} == set(Throttles.__struct_fields__)


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        ("maxClientCnxn=60", "maxClientCnxn is no key of ZooKeeper; did you mean maxClientCnxns?"),
        (
            "4lw.command.whitelist=*",
            "4lw.command.whitelist is no key of ZooKeeper; did you mean 4lw.commands.whitelist?",
        ),
        ("ticktime=1", "ticktime is no key of ZooKeeper; did you mean tickTime?"),
        ("color=blue", "color is no key of ZooKeeper; it has no effect"),
    ],
)
def test_an_unknown_key_is_named_with_what_it_looks_like(load: Load, line: str, warning: str) -> None:
    _, warnings = load(line)
    assert [found.partition(": ")[2] for found in warnings] == [warning]
