"""``trioquorum log`` and ``trioquorum snapshot`` on files that ZooKeeper wrote, whole and damaged."""

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import trio
from typer.testing import CliRunner

from tests.storage.kit import creates
from trioquorum.backup.directory import load_directory
from trioquorum.cli import app
from trioquorum.storage.log_format import HEADER, encode_records
from trioquorum.storage.snapshot import snapshot_chunks
from trioquorum.tree.nodes import DataTree
from trioquorum.wire.txn import decode_txn

IMAGES = Path(__file__).parents[1] / "storage" / "images"
LOST_LEADER = IMAGES / "ens-leader-loss-s3"


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``trioquorum`` with these arguments."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def dump(*arguments: object) -> list[dict[str, Any]]:
    code, out, err = run("log", "dump", *arguments)
    assert (code, err) == (0, "")
    return lines(out)


def test_every_transaction_is_dumped_with_its_place() -> None:
    told = dump(LOST_LEADER)
    assert [each["zxid"] for each in told] == sorted((each["zxid"] for each in told), key=lambda zxid: int(zxid, 16))
    assert told[0]["file"] == "log.100000001"
    assert told[0]["offset"] == 16
    assert told[0]["type"] == "create_session"
    for file in {each["file"] for each in told}:
        content = (LOST_LEADER / file).read_bytes()
        for each in told:
            if each["file"] == file:
                zxid = content[each["offset"] + 12 + 12 : each["offset"] + 12 + 20]
                assert int.from_bytes(zxid) == int(each["zxid"], 16)


def test_filters_choose_by_zxid_session_and_path() -> None:
    everything = dump(LOST_LEADER)
    later = dump(LOST_LEADER, "--from", "0x200000001")
    assert later == [each for each in everything if int(each["zxid"], 16) >= 0x200000001]
    first = dump(LOST_LEADER, "--to", 0x100000003)
    assert first == [each for each in everything if int(each["zxid"], 16) <= 0x100000003]
    session = everything[0]["session"]
    assert dump(LOST_LEADER, "--session", session) == [each for each in everything if each["session"] == session]
    path = next(each["path"] for each in everything if "path" in each)
    of_path = dump(LOST_LEADER, "--path", path)
    assert of_path
    assert len(of_path) < len(everything)


def test_a_good_log_is_good() -> None:
    code, out, err = run("log", "verify", LOST_LEADER, "--json")
    assert (code, err) == (0, "")
    assert [report["problem"] for report in lines(out)] == ["", ""]
    assert sum(report["records"] for report in lines(out)) == len(dump(LOST_LEADER))


def test_a_snapshot_from_a_leader_explains_a_gap() -> None:
    code, out, _ = run("log", "verify", IMAGES / "ens-restart-snap-s1")
    assert code == 0, out


@pytest.mark.parametrize("image", ["flip-middle-txn", "flip-old-log", "log-bad-magic", "flip-last-txn"])
def test_damage_is_named_with_file_and_repair(image: str) -> None:
    code, out, err = run("log", "verify", IMAGES / "damaged" / image)
    assert code == 10
    assert "damaged" in out
    assert "--resync" in err
    assert "log truncate" in err


@pytest.mark.parametrize("image", ["torn-after-crc", "torn-cut-mid-record", "torn-zero-tail"])
def test_a_torn_end_is_no_damage(image: str) -> None:
    code, out, _ = run("log", "verify", IMAGES / "damaged" / image)
    assert code == 0, out


def test_a_missing_log_file_leaves_a_hole(tmp_path: Path) -> None:
    folder = shutil.copytree(LOST_LEADER, tmp_path / "version-2")
    content = (folder / "log.100000001").read_bytes()
    told = dump(folder / "log.100000001")
    cut = told[len(told) // 2]["offset"]
    (folder / "log.100000001").write_bytes(content[:cut])
    for file in folder.glob("snapshot.*"):
        if file.name != "snapshot.0":
            file.unlink()
    behind = told[len(told) // 2 + 1]
    (folder / f"log.{int(behind['zxid'], 16):x}").write_bytes(content[:16] + content[behind["offset"] :])
    code, out, _ = run("log", "verify", tmp_path)
    assert code == 10
    assert f"{behind['zxid']} stands behind {told[len(told) // 2 - 1]['zxid']}" in out


def test_truncate_keeps_what_was(tmp_path: Path) -> None:
    folder = shutil.copytree(LOST_LEADER, tmp_path / "version-2")
    whole = dump(tmp_path)
    goal = whole[3]["zxid"]
    code, out, err = run("log", "truncate", tmp_path, "--to", goal)
    assert (code, err) == (0, "")
    assert dump(tmp_path) == [each for each in whole if int(each["zxid"], 16) <= int(goal, 16)]
    assert all(int(file.name.split(".")[1], 16) <= int(goal, 16) for file in folder.glob("snapshot.*"))
    (kept,) = [file for file in tmp_path.iterdir() if file != folder]
    assert str(kept) in out
    assert dump(kept) == whole
    code, _, err = run("log", "truncate", tmp_path, "--to", goal)
    assert code == 3
    assert "there already" in err


def test_truncate_refuses_what_would_leave_nothing(tmp_path: Path) -> None:
    folder = shutil.copytree(LOST_LEADER, tmp_path / "version-2")
    (folder / "snapshot.0").unlink()
    code, _, err = run("log", "truncate", tmp_path, "--to", "0x100000003")
    assert code == 3
    assert "no snapshot is as old" in err
    assert dump(tmp_path) == dump(LOST_LEADER)


@pytest.mark.parametrize("with_digest", [True, False])
def test_truncate_drops_what_a_snapshot_took_meanwhile(tmp_path: Path, with_digest: bool) -> None:
    """A snapshot of an earlier zxid may hold what came behind it while it was written, in part."""
    payloads = creates(range(1, 11))
    tree = DataTree(keeps_digest=with_digest)
    (tmp_path / "snapshot.0").write_bytes(b"".join(snapshot_chunks(tree, 0, 1)))
    (tmp_path / "log.1").write_bytes(HEADER + encode_records([payload for _, payload in payloads]))
    for zxid, payload in payloads[:4]:
        tree.apply(decode_txn(payload))
        if zxid == 2:
            (tmp_path / "snapshot.2").write_bytes(b"".join(snapshot_chunks(tree, 2, 1)))
    chunks = snapshot_chunks(tree, 4, 1)
    written = [next(chunks) for _ in range(4)]
    for _, payload in payloads[4:7]:
        tree.apply(decode_txn(payload))
    (tmp_path / "snapshot.4").write_bytes(b"".join([*written, *chunks]))
    (tmp_path / "snapshot.1").write_bytes(b"half")
    code, _, err = run("log", "truncate", tmp_path, "--to", 5)
    assert (code, err) == (0, "")
    assert sorted(file.name for file in tmp_path.glob("snapshot.*")) == ["snapshot.0", "snapshot.1", "snapshot.2"]
    left = trio.run(load_directory, tmp_path).tree
    assert sorted(path for path in left.nodes if path.startswith("/n")) == [f"/n{zxid}" for zxid in range(1, 6)]


def test_a_snapshot_dump_equals_the_recorded_tree() -> None:
    recorded = json.loads(gzip.decompress((LOST_LEADER / "tree.json.gz").read_bytes()))
    code, out, err = run("snapshot", "dump", LOST_LEADER)
    assert (code, err) == (0, "")
    told = [each for each in lines(out) if "path" in each]
    assert {each["path"] for each in told} <= {node["path"] for node in _nodes(recorded)}


def _nodes(recorded: Any) -> list[dict[str, Any]]:
    nodes = recorded["nodes"] if isinstance(recorded, dict) else recorded
    return [{"path": path} for path in nodes] if isinstance(nodes, dict) else nodes


def test_snapshots_are_filtered_by_zxid_session_and_path() -> None:
    folder = IMAGES / "standalone-plain"

    def filtered(*arguments: object) -> list[dict[str, Any]]:
        code, out, err = run("snapshot", "dump", folder, *arguments)
        assert (code, err) == (0, "")
        return lines(out)

    everything = filtered()
    znodes = [each for each in everything if "path" in each]
    (session,) = [each for each in everything if "timeout_ms" in each and "path" not in each]
    changed = {each["path"]: max(int(each["mzxid"], 16), int(each["pzxid"], 16)) for each in znodes}
    first, last = 0x8, 0x15
    assert filtered("--from", first) == [each for each in znodes if changed[each["path"]] >= first]
    assert filtered("--to", last) == [each for each in znodes if changed[each["path"]] <= last]
    some = filtered("--from", hex(first), "--to", hex(last))
    assert 0 < len(some) < len(znodes)
    ephemerals = [each for each in znodes if each["kind"] == "ephemeral"]
    assert filtered("--session", session["session"]) == [session, *ephemerals]
    assert filtered("--session", 1) == []
    below = filtered("--path", "/a")
    assert below == [each for each in znodes if each["path"] == "/a" or each["path"].startswith("/a/")]
    assert len(below) > 1


@pytest.mark.parametrize(("image", "code"), [("snap-cut", 10), ("snap-flip", 10), ("snap-digest-mismatch", 10)])
def test_damaged_snapshots_are_found(image: str, code: int) -> None:
    found, out, _ = run("snapshot", "verify", IMAGES / "damaged" / image)
    assert found == code, out


def test_good_snapshots_are_good() -> None:
    for image in ("ens-leader-loss-s3", "standalone-gz", "standalone-snappy"):
        code, out, _ = run("snapshot", "verify", IMAGES / image)
        assert code == 0, out


def test_a_snapshot_differs_from_another_by_what_changed() -> None:
    first, second = sorted(LOST_LEADER.glob("snapshot.*"))
    code, out, _ = run("snapshot", "diff", first, second)
    assert code == 1
    changed = {each["path"] for each in lines(out) if "path" in each}
    assert "/" in changed
    assert run("snapshot", "diff", first, first)[:2] == (0, "")


def test_stats_add_up() -> None:
    code, out, _ = run("snapshot", "stats", LOST_LEADER, "--json")
    assert code == 0
    (stats,) = lines(out)
    told = lines(run("snapshot", "dump", LOST_LEADER)[1])
    assert stats["znodes"] == sum("path" in each for each in told)
    assert stats["sessions"] == sum("timeout_ms" in each and "path" not in each for each in told)
    assert stats["data_bytes"] == sum(each.get("data_bytes", 0) for each in told)
    assert sum(count for count, _ in stats["top"].values()) == stats["znodes"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    code, _, err = run("log", "verify", tmp_path / "nothing")
    assert code == 3
    assert "no such file" in err
    code, _, err = run("log", "dump", tmp_path)
    assert code == 3
    assert "no log in it" in err
