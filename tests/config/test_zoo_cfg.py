"""``zoo.cfg``: ZooKeeper's own file means here what it means there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from trioquorum import config
from trioquorum.errors import ConfigError
from trioquorum.limits import Throttles
from trioquorum.properties import read_properties
from trioquorum.transport import Address
from trioquorum.zoo_cfg import load_zoo_cfg

THROTTLES = Throttles(
    connect_tokens=1,
    connect_fill_time_ms=2,
    connect_fill_count=3,
    connect_freeze_time_ms=4,
    connect_drop_increase=0.5,
    connect_drop_decrease=0.06,
    connect_decrease_ratio=0.7,
    connect_weights=True,
    connect_weight_global=8,
    connect_weight_renew=9,
    connect_weight_local=10,
    request_max=11,
    request_stall_time_ms=12,
    request_drop_stale=False,
    request_stale_connection_check=False,
    request_stale_latency_check=True,
    throttled_op_wait_time_ms=13,
    large_request_bytes_min=14,
    large_requests_bytes_max=15,
)

ENSEMBLE = """\
# A comment, and ! starts one too
! like this
tickTime=2000
initLimit=10
syncLimit = 5
dataDir={data}
clientPort=2181
server.1=zoo1:2888:3888
server.2=[fe80::2]:2888:3888:participant;2181
server.3=zoo3:2888:3888:observer;[::1]:2183
"""

Loader = Callable[..., tuple[config.ServerConfig, list[str]]]


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    """Write ``text`` (``{data}`` is the data directory, holding ``myid``) as zoo.cfg and read it."""

    def write_and_load(text: str, myid: str | None = "1") -> tuple[config.ServerConfig, list[str]]:
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        if myid is not None:
            (data / "myid").write_text(f"{myid}\n")
        path = tmp_path / "zoo.cfg"
        path.write_text(text.replace("{data}", str(data)).replace("{dir}", str(tmp_path)))
        server, warnings = load_zoo_cfg(path)
        return server, [line.removeprefix(f"{tmp_path}/") for line in warnings]

    return write_and_load


def refusal(load: Loader, text: str, tmp_path: Path, myid: str | None = "1") -> str:
    with pytest.raises(ConfigError) as caught:
        load(text, myid)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{tmp_path}/", "")


def test_an_ensemble(load: Loader, tmp_path: Path) -> None:
    server, warnings = load(ENSEMBLE)
    assert warnings == []
    assert server.my_id == 1
    assert server.peers == (
        config.PeerSpec(id=1, quorum=Address("tcp", "zoo1", 2888), election=Address("tcp", "zoo1", 3888)),
        config.PeerSpec(
            id=2,
            quorum=Address("tcp", "fe80::2", 2888),
            election=Address("tcp", "fe80::2", 3888),
            client=Address("tcp", "0.0.0.0", 2181),
        ),
        config.PeerSpec(
            id=3,
            quorum=Address("tcp", "zoo3", 2888),
            election=Address("tcp", "zoo3", 3888),
            client=Address("tcp", "::1", 2183),
            role="observer",
        ),
    )
    assert server.client_addresses == (Address("tcp", "0.0.0.0", 2181),)
    assert (server.tick_time_ms, server.init_limit_ticks, server.sync_limit_ticks) == (2000, 10, 5)
    assert (server.min_session_timeout_ms, server.max_session_timeout_ms) == (4000, 40_000)
    assert server.data_dir == server.data_log_dir == tmp_path / "data"
    assert server.quorum_config().voters == {1, 2}


def test_every_setting_reaches_its_field(load: Loader, tmp_path: Path) -> None:
    server, warnings = load(
        ENSEMBLE.replace("clientPort=2181", "clientPort=2181\nclientPortAddress=10.0.0.1")
        + """
dataLogDir={dir}/log
minSessionTimeout=-1
maxSessionTimeout=90000
maxClientCnxns=7
maxCnxns=70
clientPortListenBacklog=33
clientTcpKeepAlive=true
connection_throttle_tokens=1
connection_throttle_fill_time=2
connection_throttle_fill_count=3
connection_throttle_freeze_time=4
connection_throttle_drop_increase=0.5
connection_throttle_drop_decrease=0.06
connection_throttle_decrease_ratio=0.7
connection_throttle_weight_enabled=true
connection_throttle_global_session_weight=8
connection_throttle_renew_session_weight=9
connection_throttle_local_session_weight=10
request_throttle_max_requests=11
request_throttle_stall_time=12
request_throttle_drop_stale=false
request_stale_connection_check=false
request_stale_latency_check=true
throttled_op_wait_time=13
zookeeper.largeRequestThreshold=14
largeRequestMaxBytes=15
4lw.commands.whitelist=stat, ruok
leaderServes=no
forceSync=no
snapCount=1000
preAllocSize=1024
snapshotSizeFactor=0.5
autopurge.snapRetainCount=5
autopurge.purgeInterval=24
zookeeper.globalOutstandingLimit=10
jute.maxbuffer=2000000
commitLogCount=600
fsync.warningthresholdms=50
cnxTimeout=3000
connectToLearnerMasterLimit=4
fastleader.minNotificationInterval=100
fastleader.maxNotificationInterval=6000
leaderConnectDelayDuringRetryMs=20
nio.sessionlessCnxnTimeout=700
observerMasterPort=2191
observer.reconnectDelayMs=300
observerMaster.sizeLimit=1000000
leader.maxTimeToWaitForEpoch=800
observer.election.DelayMs=0
oraclePath=/run/oracle
readonlymode.enabled=true
leader.maxConcurrentSnapSyncs=2
leader.maxConcurrentDiffSyncs=0
forceSnapshotSync=true
db.autocreate=false
snapshot.trust.empty=true
"""
    )
    assert warnings == []
    assert server.client_addresses == (Address("tcp", "10.0.0.1", 2181),)
    assert server.data_log_dir == tmp_path / "log"
    assert (server.min_session_timeout_ms, server.max_session_timeout_ms) == (4000, 90_000)
    assert server.four_letter_words == {"stat", "ruok", "srvr", "isro"}
    assert (server.leader_serves, server.force_sync) == (False, False)
    assert server.log_preallocate_bytes == 1 << 20
    assert server.snapshot_size_factor == 0.5
    assert server.purge_enabled
    assert (server.slow_flush_ms, server.connect_timeout_ms) == (50, 3000)
    assert (server.learner_connect_limit_ticks, server.learner_connect_retry_ms) == (4, 20)
    assert (server.election_resend_ms_min, server.election_resend_ms_max) == (100, 6000)
    assert (server.leader_max_wait_for_epoch_ms, server.observer_election_delay_ms) == (800, 0)
    assert (server.oracle_path, server.read_only_enabled) == ("/run/oracle", True)
    assert (server.snapshot_syncs_max, server.diff_syncs_max, server.force_snapshot_sync) == (2, 0, True)
    assert (server.trust_empty_data, server.trust_missing_snapshot) == (False, True)
    limits = server.limits
    assert (limits.connections_per_ip_max, limits.connections_max) == (7, 70)
    assert (limits.client_requests_inflight_max, limits.client_frame_bytes_max) == (10, 2_000_000)
    assert (limits.snap_count, limits.snapshots_kept, limits.committed_log_txns_max) == (1000, 5, 600)
    assert limits.client_sessionless_ms == 700
    assert server.throttles == THROTTLES
    assert (server.client_listen_backlog, server.client_keep_alive) == (33, True)
    masters = [spec.observer_master for spec in server.peers]
    assert masters == [Address("tcp", host, 2191) for host in ("zoo1", "fe80::2", "zoo3")]
    assert (server.observer_reconnect_delay_ms, limits.observer_master_bytes_max) == (300, 1_000_000)


def test_clean_up_of_containers_and_ttl_nodes(load: Loader) -> None:
    plain, _ = load(ENSEMBLE)
    assert (plain.extended_types_enabled, plain.emulate_353_ttl_nodes) == (False, False)
    server, warnings = load(
        ENSEMBLE
        + """
zookeeper.extendedTypesEnabled=true
emulate353TTLNodes=true
znode.container.checkIntervalMs=500
znode.container.maxPerMinute=60
znode.container.maxNeverUsedIntervalMs=0
"""
    )
    assert warnings == []
    assert (server.extended_types_enabled, server.emulate_353_ttl_nodes) == (True, True)
    assert (server.container_check_interval_ms, server.container_deletions_per_minute_max) == (500, 60)
    assert server.container_unused_ms_max == 0


@pytest.mark.parametrize("port", ["0", "-1"])
def test_no_observer_master_port(load: Loader, port: str) -> None:
    server, _ = load(f"{ENSEMBLE}\nobserverMasterPort={port}")
    assert {spec.observer_master for spec in server.peers} == {None}


def test_zookeepers_defaults_where_ours_differ(load: Loader) -> None:
    server, _ = load("dataDir={data}\nclientPort=2181", myid=None)
    assert server.tick_time_ms == 3000
    assert not server.purge_enabled
    assert server.four_letter_words == config.FOUR_LETTER_WORDS


@pytest.mark.parametrize(("text", "value"), [("0xfffff", 0xFFFFF), ("0X10", 16), ("0100", 100)])
def test_numbers_as_zookeepers_manual_writes_them(load: Loader, text: str, value: int) -> None:
    server, _ = load(f"{ENSEMBLE}jute.maxbuffer={text}")
    assert server.limits.client_frame_bytes_max == value


@pytest.mark.parametrize("text", ["clientPort=2181", "server.5=h:1:2;2181", "clientPort=2181\nserver.5=h:1:2;2181"])
def test_one_participant_is_standalone(load: Loader, text: str) -> None:
    server, _ = load("dataDir={data}\n" + text, myid=None)
    assert (server.my_id, server.peers) == (0, ())
    assert server.client_addresses == (Address("tcp", "0.0.0.0", 2181),)


def test_one_participant_may_be_an_ensemble(load: Loader) -> None:
    limits = "\ninitLimit=3\nsyncLimit=3\nstandaloneEnabled=false"
    server, _ = load("dataDir={data}\nserver.5=h:1:2;2181" + limits, myid="5")
    assert [spec.id for spec in server.peers] == [5]


def test_groups_and_weights(load: Loader) -> None:
    server, warnings = load(ENSEMBLE + "group.1=1:3\ngroup.2=2\nweight.1=3\n")
    assert warnings == []
    assert [(spec.group, spec.weight) for spec in server.peers] == [(1, 3), (2, 1), (1, 1)]


def test_a_dynamic_file(load: Loader, tmp_path: Path) -> None:
    static, servers = ENSEMBLE[: ENSEMBLE.index("server.1")], ENSEMBLE[ENSEMBLE.index("server.1") :]
    dynamic = tmp_path / "zoo.cfg.dynamic.10000000a"
    dynamic.write_text(servers)
    server, warnings = load(f"{static}dynamicConfigFile={dynamic}\n")
    assert warnings == []
    assert [spec.id for spec in server.peers] == [1, 2, 3]
    assert server.config_version == server.quorum_config().version == 0x10000000A
    moved = refusal(load, f"{ENSEMBLE}dynamicConfigFile={dynamic}\n", tmp_path)
    assert moved.startswith("zoo.cfg:8: server.1 belongs into dynamicConfigFile")
    dynamic.write_text(servers + "version=100\n")
    message = refusal(load, f"{static}dynamicConfigFile={dynamic}\n", tmp_path)
    assert message.startswith("zoo.cfg.dynamic.10000000a:4: version does not belong into a dynamic file")


def test_keys_without_effect_are_named(load: Loader) -> None:
    _, warnings = load(ENSEMBLE + "electionPortBindRetry=1\nzookeeper.tikTime=1\nsslQuorum=false\npeerType=observer\n")
    assert warnings == [
        "zoo.cfg:11: electionPortBindRetry has no effect here: a port that is taken ends the server at once",
        "zoo.cfg:12: zookeeper.tikTime is no key of ZooKeeper; did you mean tickTime?",
        "zoo.cfg:14: peerType says observer, the server list says participant; the list counts",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tickTime=2s", "zoo.cfg:11: tickTime is '2s'; write a whole number"),
        ("snapshotSizeFactor=half", "zoo.cfg:11: snapshotSizeFactor is 'half'; write a number"),
        ("forceSync=maybe", "zoo.cfg:11: forceSync is 'maybe'; write true or false"),
        ("autopurge.purgeInterval=often", "zoo.cfg:11: autopurge.purgeInterval is 'often'; write hours"),
        ("4lw.commands.whitelist=ruok,ruck", "zoo.cfg:11: 'ruck' is no four-letter word of ZooKeeper"),
        ("electionAlg=1", "zoo.cfg:11: electionAlg is 1; only 3 exists any more"),
        ("sslQuorum=true", "zoo.cfg:11: sslQuorum asks for a protection that is not offered; remove it"),
        (
            "server.four=zoo4:2888:3888",
            "zoo.cfg:11: server.four names no server or group; write a number behind the dot",
        ),
        ("server.4=zoo4:2888", "zoo.cfg:11: server.4 is 'zoo4:2888'; write host:2888:"),
        ("server.4=zoo4:2888:3888:boss", "zoo.cfg:11: 'boss' is no role; write participant or observer"),
        ("server.4=zoo4:2888:99999", "zoo.cfg:11: 99999 is no port; use 1 to 65535"),
        ("server.4=a:1:2|b:1:2", "zoo.cfg:11: server.4 has several addresses; only one is supported"),
        ("server.4=a:1:2;", "zoo.cfg:11: server.4 is 'a:1:2;'; write host:2888:"),
        (
            "server.4=a:1:2;3;4;5",
            "zoo.cfg:11: server.4 is 'a:1:2;3;4;5'; write host:2888:3888[:observer][;2181[;2281]]",
        ),
        (
            "server.4=a:1:2;x:y;4",
            "zoo.cfg:11: server.4 is 'a:1:2;x:y;4'; write host:2888:3888[:observer][;2181[;2281]]",
        ),
        ("secureClientPort=2281", "zoo.cfg: a client port for TLS needs a key; name its file in ssl.keyStore.location"),
        ("ssl.keyStore.location=k", "zoo.cfg: certificates of clients need somebody who vouches for them; name the"),
        ("secureClientPortAddress=h", "zoo.cfg:11: secureClientPortAddress needs a secureClientPort; add"),
        ("server.4=zoo1:2888:3889", "zoo.cfg: tcp://zoo1:2888 is both quorum of peer 1 and quorum of peer 4"),
        ("server.255=a:1:2", "zoo.cfg: peer id 255 is out of range; use 0 to 254"),
        ("group.1=1:2:9", "zoo.cfg: a group or weight names server 9, but there is no server.9; add or remove it"),
        ("group.1=1:2\ngroup.2=2", "zoo.cfg:12: server 2 is in two groups; leave it in one"),
        ("group.1=1", "zoo.cfg: peer 2 has no group, others have; give every participant one or none"),
        ("maxSessionTimeout=1", "zoo.cfg: the smallest session timeout (4000 ms) is above the largest (1 ms)"),
        ("tickTime=0", "zoo.cfg:11: tickTime is 0; it must be at least 1"),
        ("leader.maxTimeToWaitForEpoch=-2", "zoo.cfg:11: leader.maxTimeToWaitForEpoch is -2; it must be at least -1"),
        ("zookeeper.preAllocSize=-1", "zoo.cfg:11: zookeeper.preAllocSize is -1; it must be at least 1"),
        ("snapshotSizeFactor=10", "zoo.cfg:11: snapshotSizeFactor is 10; it must be at most 1"),
        ("maxClientCnxns=-1", "zoo.cfg:11: maxClientCnxns is -1; it must be at least 0"),
        ("connection_throttle_tokens=-1", "zoo.cfg:11: connection_throttle_tokens is -1; it must be at least 0"),
        ("trioquorum.election_settle_ms=0", "zoo.cfg:11: trioquorum.election_settle_ms is 0; it must be at least 1"),
        (
            "fastleader.minNotificationInterval=9\nfastleader.maxNotificationInterval=8",
            "zoo.cfg:11: fastleader.minNotificationInterval is above fastleader.maxNotificationInterval; swap them",
        ),
        ("DigestAuthenticationProvider.superDigest=s", "zoo.cfg:11: DigestAuthenticationProvider.superDigest is no "),
        ("DigestAuthenticationProvider.digestAlg=X", "zoo.cfg:11: DigestAuthenticationProvider.digestAlg is 'X'; use"),
        ("peerType=boss", "zoo.cfg:11: peerType is 'boss'; write participant or observer"),
        ("jute.maxbuffer=0xg", "zoo.cfg:11: jute.maxbuffer is '0xg'; write a whole number"),
        ("clientPort=none", "zoo.cfg:11: clientPort is 'none'; write a whole number"),
        ("=3", "zoo.cfg:11: has no key before the ="),
        ("a=\\u12", "zoo.cfg:11: \\u is not followed by four hexadecimal digits"),
    ],
)
def test_a_wrong_value_is_named(load: Loader, tmp_path: Path, line: str, message: str) -> None:
    assert refusal(load, f"{ENSEMBLE}{line}\n", tmp_path).startswith(message)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("dataDir", "zoo.cfg: dataDir is missing; add dataDir=/var/lib/zookeeper"),
        ("initLimit", "zoo.cfg: initLimit is missing; an ensemble needs it, add initLimit=10"),
        ("syncLimit", "zoo.cfg: syncLimit is missing; an ensemble needs it, add syncLimit=10"),
    ],
)
def test_a_missing_key_is_named(load: Loader, tmp_path: Path, key: str, message: str) -> None:
    without = "".join(line for line in ENSEMBLE.splitlines(True) if not line.startswith(key))
    assert refusal(load, without, tmp_path) == message


def test_client_ports_must_agree(load: Loader, tmp_path: Path) -> None:
    server, _ = load(ENSEMBLE, myid="2")
    assert server.client_addresses == (Address("tcp", "0.0.0.0", 2181),)
    assert "clientPort says tcp://0.0.0.0:2181, the server line says tcp://[::1]:2183; keep one of them" in refusal(
        load, ENSEMBLE, tmp_path, myid="3"
    )
    narrow, _ = load(ENSEMBLE + "clientPortAddress=127.0.0.1\n", myid="2")
    assert narrow.client_addresses == (Address("tcp", "127.0.0.1", 2181),)
    assert "clientPortAddress needs a clientPort" in refusal(
        load, ENSEMBLE.replace("clientPort=2181", "clientPortAddress=127.0.0.1"), tmp_path
    )
    assert "clientPort is missing" in refusal(load, "dataDir={data}\n", tmp_path)


def test_observers_need_an_ensemble(load: Loader, tmp_path: Path) -> None:
    text = "dataDir={data}\nserver.1=a:1:2;3\nserver.2=b:1:2:observer;3\n"
    assert "observers need an ensemble" in refusal(load, text, tmp_path)


@pytest.mark.parametrize(
    ("myid", "message"),
    [
        (None, "data/myid: is missing; write this server's number"),
        ("one", "data/myid: says 'one'; write this server's number into it"),
        ("9", "zoo.cfg: there is no server.9, which data/myid says this is; correct one"),
    ],
)
def test_myid(load: Loader, tmp_path: Path, myid: str | None, message: str) -> None:
    assert refusal(load, ENSEMBLE, tmp_path, myid).startswith(message)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a=b", [("a", "b", 1)]),
        ("  a : b  ", [("a", "b", 1)]),
        ("a b", [("a", "b", 1)]),
        ("a", [("a", "", 1)]),
        ("a=b=c:d", [("a", "b=c:d", 1)]),
        ("a\\=b=c", [("a=b", "c", 1)]),
        ("a=one, \\\n   two\nb=3", [("a", "one, two", 1), ("b", "3", 3)]),
        ("a=x\\", [("a", "x", 1)]),
        ("a=x\\\\\nb=1", [("a", "x\\", 1), ("b", "1", 2)]),
        ("# a=1\n\n!b=2\nc=3", [("c", "3", 4)]),
        ("a=\\u0041\\t.", [("a", "A\t.", 1)]),
        ("a=1\r\nb=2\r\n", [("a", "1", 1), ("b", "2", 2)]),
    ],
)
def test_the_properties_format(text: str, pairs: list[tuple[str, str, int]]) -> None:
    assert [tuple(entry) for entry in read_properties(text, "f")] == [(k, v, f"f:{n}") for k, v, n in pairs]


@given(st.dictionaries(st.text("abc.=: #!\\ é", min_size=1), st.text("xyz=:# \\\té"), max_size=5))
def test_what_java_would_write_is_read_back(properties: dict[str, str]) -> None:
    def escape(text: str) -> str:
        return "".join(
            f"\\{c}" if c in "\\=:#! " else "\\t" if c == "\t" else c if c.isascii() else f"\\u{ord(c):04x}"
            for c in text
        )

    text = "".join(f"{escape(key)}={escape(value)}\n" for key, value in properties.items())
    found = [(entry.key, entry.value) for entry in read_properties(text, "f")]
    assert found == [(key.strip(), value.strip()) for key, value in properties.items()]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    seen: list[str] = []
    try:
        seen = [entry.key for entry in read_properties(text, "f")]
    except ConfigError as error:
        seen = [str(error)]
    assert all(line.strip() == line for line in seen)


def test_a_standalone_server_is_told_how_to_have_an_admin_port(tmp_path: Path) -> None:
    file = tmp_path / "zoo.cfg"
    file.write_text(f"dataDir={tmp_path}\nclientPort=2181\nadmin.serverPort=9\n")
    _, warnings = load_zoo_cfg(file)
    assert len(warnings) == 1
    assert warnings[0].endswith("start it with --admin http://127.0.0.1:9")
