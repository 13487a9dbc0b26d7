"""``peers.toml``: what it may say, and that every mistake is named with its place and a way out."""

import random
from pathlib import Path

import pytest

from trioquorum import config
from trioquorum.errors import ConfigError
from trioquorum.peer.masters import Masters
from trioquorum.transport import Address
from trioquorum.zab.quorum import Member, QuorumConfig

TOO_SMALL = "peers.toml: throttles.connect_fill_time_ms is 0; it must be at least 1"

THREE = """
[ensemble]
tick_time_ms = 500
four_letter_words = ["ruok"]

[limits]
snap_count = 7

[[peer]]
id = 3
quorum = "tcp://127.0.0.1:2883"
election = "tcp://127.0.0.1:3883"
role = "observer"

[[peer]]
id = 1
quorum = "tcp://127.0.0.1:2881"
election = "tcp://127.0.0.1:3881"
client = "tcp://127.0.0.1:2181"
admin = "http://127.0.0.1:8081"

[[peer]]
id = 2
quorum = "tcp://[::1]:2882"
election = "ws://h2:3882"
client = "tcp://[::]:2181"
observer_master = "tcp://[::1]:2892"
weight = 2
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "peers.toml"
    path.write_text(text)
    return path


def load(tmp_path: Path, text: str, my_id: int = 1) -> config.ServerConfig:
    return config.load_peers_toml(write(tmp_path, text), my_id, tmp_path / "data")


def refusal(tmp_path: Path, text: str, my_id: int = 1) -> str:
    """The message, which must be one line that starts with the file."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, my_id)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path}/")
    return message.removeprefix(f"{tmp_path}/")


def test_everything_is_read(tmp_path: Path) -> None:
    server = load(tmp_path, THREE, my_id=2)
    assert server.my_id == 2
    assert [spec.id for spec in server.peers] == [1, 2, 3]
    assert server.me == config.PeerSpec(
        id=2,
        quorum=Address("tcp", "::1", 2882),
        election=Address("ws", "h2", 3882),
        client=Address("tcp", "::", 2181),
        observer_master=Address("tcp", "::1", 2892),
        weight=2,
    )
    assert server.client_addresses == (Address("tcp", "::", 2181),)
    assert server.peers[0].admin == "http://127.0.0.1:8081"
    assert server.tick_time_ms == 500
    assert server.four_letter_words == {"ruok"}
    assert server.limits.snap_count == 7
    assert (server.min_session_timeout_ms, server.max_session_timeout_ms) == (1000, 10_000)
    assert server.data_dir == server.data_log_dir == tmp_path / "data"


def test_a_peer_without_a_client_port_serves_no_clients(tmp_path: Path) -> None:
    assert load(tmp_path, THREE, my_id=3).client_addresses == ()


def test_each_peer_has_its_own_data_dir_unless_told(tmp_path: Path) -> None:
    path = write(tmp_path, THREE)
    assert config.load_peers_toml(path, 1).data_dir != config.load_peers_toml(path, 2).data_dir


def test_quorum_config_holds_the_same_ensemble(tmp_path: Path) -> None:
    quorum = load(tmp_path, THREE).quorum_config()
    assert quorum.version == 0
    assert quorum.voters == {1, 2}
    assert quorum.observers == {3}
    assert quorum.members[1].client == "tcp://127.0.0.1:2181"
    assert quorum.members[2].quorum == "tcp://[::1]:2882"
    assert quorum.members[3].client is None
    assert quorum.members[2].weight == 2


def test_read_peers_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    assert [spec.id for spec in config.read_peers(write(tmp_path, THREE))] == [3, 1, 2]


def test_standalone_is_loopback_with_zookeepers_timeouts() -> None:
    server = config.standalone()
    assert server.peers == ()
    assert server.me is None
    assert server.my_id == 0
    assert [str(address) for address in server.client_addresses] == ["tcp://127.0.0.1:2181"]
    assert (server.min_session_timeout_ms, server.max_session_timeout_ms) == (4000, 40_000)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tick_time_ms", "tickTime", "peers.toml: unknown key ensemble.tickTime; remove it or correct its spelling"),
        ('role = "ob', 'rolle = "ob', "peers.toml: unknown key peer[0].rolle; remove it or correct its spelling"),
        ("[limits]", "[limit]", "peers.toml: unknown key limit; remove it or correct its spelling"),
        ("snap_count", "snapCount", "peers.toml: unknown key limits.snapCount; remove it or correct its spelling"),
        ("id = 3", "", "peers.toml: peer[0].id is missing; add it"),
        ("= 500", '= "500"', "peers.toml: ensemble.tick_time_ms: Expected `int`, got `str`"),
        ("= 500", "= 0", "peers.toml: tick_time_ms is 0; it must be at least 1"),
        ("[limits]\nsnap_count = 7", "[throttles]\nconnect_fill_time_ms = 0", TOO_SMALL),
        ("= 7", "= 0", "peers.toml: limits.snap_count is 0; it must be at least 1"),
        ("= 500", "= ", "peers.toml: is not TOML: Invalid value (at line 3, column 16)"),
        ("id = 3", "id = 2", "peers.toml: peer id 2 is used twice; give each peer its own id"),
        ("id = 3", "id = 255", "peers.toml: peer id 255 is out of range; use 0 to 254"),
        (":2883", ":3881", "peers.toml: tcp://127.0.0.1:3881 is both election of peer 1 and quorum of peer 3"),
        (":2181", ":2883", "peers.toml: tcp://127.0.0.1:2883 is both client of peer 1 and quorum of peer 3"),
        (":2892", ":2882", "peers.toml: tcp://[::1]:2882 is both quorum of peer 2 and observer master of peer 2"),
        (":2892", "", "peers.toml: peer[2].observer_master: 'tcp://[::1]' has no port; write it like"),
        (":2883", "", "peers.toml: peer[0].quorum: 'tcp://127.0.0.1' has no port; write it like tcp://127.0.0.1:2181"),
        (":2883", ":0", "peers.toml: quorum of peer 3 is tcp://127.0.0.1 without a port"),
        ("http:", "ftp:", "peers.toml: peer[1].admin: 'ftp://127.0.0.1:8081' is not like http://127.0.0.1:8081"),
        ("weight = 2", "weight = -1", "peers.toml: peer 2 has weight -1; it must not be negative"),
        ("weight = 2", "group = 1", "peers.toml: peer 1 has no group, others have; give every participant one or none"),
        ('["ruok"]', '["ruck"]', "peers.toml: ruck is no four-letter word of ZooKeeper; remove it"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in THREE
    assert refusal(tmp_path, THREE.replace(old, new, 1)).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("min_session_timeout_ms = 99999", "the smallest session timeout (99999 ms) is above the largest (10000 ms)"),
        ("election_resend_ms_min = 70000", "election_resend_ms_min is above election_resend_ms_max"),
        ("snapshot_size_factor = 1.5", "snapshot_size_factor is 1.5; it must be at most 1"),
        ("disk_reserve_bytes = -1", "disk_reserve_bytes is -1; it must be at least 0"),
        ("connect_timeout_ms = -1", "connect_timeout_ms is -1; it must be at least 1"),
        ("container_deletions_per_minute_max = 0", "container_deletions_per_minute_max is 0; it must be at least 1"),
    ],
)
def test_settings_must_fit_together(tmp_path: Path, line: str, message: str) -> None:
    assert message in refusal(tmp_path, THREE.replace("[ensemble]", f"[ensemble]\n{line}"))


def test_an_epoch_has_no_more_transactions_than_ids(tmp_path: Path) -> None:
    text = THREE.replace("snap_count = 7", "epoch_txns_max = 4294967295")
    assert refusal(tmp_path, text) == "peers.toml: limits.epoch_txns_max is above 4294967294; lower it"


def test_an_ensemble_needs_a_participant(tmp_path: Path) -> None:
    only_observer = THREE[: THREE.index("[[peer]]\nid = 1")]
    assert "no peer is a participant" in refusal(tmp_path, only_observer, my_id=3)


def test_an_id_the_file_does_not_have(tmp_path: Path) -> None:
    assert refusal(tmp_path, THREE, my_id=4) == "peers.toml: there is no peer 4; choose --id from: 3, 1, 2"


def test_the_data_of_another_peer(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "myid").write_text("2\n")
    assert refusal(tmp_path, THREE, my_id=1) == (
        "data/myid: says '2', but this is peer 1; use --id 2 or another --data-dir"
    )
    assert load(tmp_path, THREE, my_id=2).my_id == 2


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file"):
        config.load_peers_toml(tmp_path / "nowhere.toml", 1)
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load_peers_toml(tmp_path, 1)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        config.load_peers_toml(binary, 1)


def voters(*ids: int, host: str = "h") -> QuorumConfig:
    return QuorumConfig([Member(sid, f"tcp://{host}:1{sid}", f"tcp://{host}:2{sid}") for sid in ids], 7)


def test_observers_ask_the_masters_in_turn(tmp_path: Path) -> None:
    """In an order of their own, each once in a pass, beginning behind the one that was taken last."""
    text = "".join(
        f'[[peer]]\nid = {i}\nquorum = "tcp://h:1{i}"\nelection = "tcp://h:2{i}"\nobserver_master = "tcp://h:3{i}"\n'
        for i in range(1, 6)
    )
    server = load(tmp_path, text)
    orders = set()
    for seed in range(20):
        masters = Masters(server, random.Random(seed))
        order = [sid for sid, _ in masters.one_pass(voters(1, 2, 3, 4, 5), leader=0)]
        assert sorted(order) == [1, 2, 3, 4, 5]
        orders.add(tuple(order))
        taken, address = next(masters.one_pass(voters(1, 2, 3, 4, 5), leader=0))
        assert (taken, address) == (order[0], Address("tcp", "h", 30 + taken))
        assert [sid for sid, _ in masters.one_pass(voters(1, 2, 3, 4, 5), leader=0)] == [*order[1:], taken]
        assert {sid for sid, _ in masters.one_pass(voters(1, 2, 3), leader=3)} == {1, 2}
    assert len(orders) > 10
    assert masters.any_of(voters(1), leader=2)
    assert not masters.any_of(voters(1), leader=1)
    assert not Masters(load(tmp_path, THREE), random.Random(0)).any_of(voters(1, 3), leader=1)


@pytest.mark.parametrize(("ports", "joined"), [((9, 9), ("new", 9)), ((9, 8), None), ((9, None), None)])
def test_masters_are_looked_for_where_the_membership_has_them(
    ports: tuple[int, int | None], joined: tuple[str, int] | None, tmp_path: Path
) -> None:
    """Who moved took its port along; who joined has the port that all have, if they have one."""
    text = "".join(
        f'[[peer]]\nid = {i}\nquorum = "tcp://h{i}:1{i}"\nelection = "tcp://h{i}:2{i}"\n'
        + (f'observer_master = "tcp://h{i}:{port}"\n' if port is not None else "")
        for i, port in enumerate(ports, 1)
    )
    masters = Masters(load(tmp_path, text), random.Random(1))
    members = voters(1, 3, host="new")
    found = dict(masters.one_pass(members, leader=0))
    assert (found[1].host, found[1].port) == ("new", 9)
    assert 2 not in found
    assert (found[3].host, found[3].port) == joined if joined else 3 not in found
    assert masters.any_of(members, leader=1) == (joined is not None)


def test_owners_of_353_leave_no_room_for_high_ids(tmp_path: Path) -> None:
    text = THREE.replace("[ensemble]", "[ensemble]\nemulate_353_ttl_nodes = true")
    assert load(tmp_path, text).emulate_353_ttl_nodes
    high = text.replace("id = 2\n", "id = 128\n")
    assert high != text
    assert "takes sessions of peers above 127 for times to live" in refusal(tmp_path, high)
