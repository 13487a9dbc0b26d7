"""``trioquorum backup``, ``restore`` and ``import`` on directories that ZooKeeper wrote, whole and damaged."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from typer.testing import CliRunner

from tests.backup.kit import told
from tests.storage.kit import expected_tree, image, load, seen_tree
from trioquorum.backup import archive
from trioquorum.backup.directory import load_directory
from trioquorum.backup.restoring import restore
from trioquorum.cli import app
from trioquorum.errors import CorruptSnapshot
from trioquorum.storage.epochs import Epochs
from trioquorum.storage.memory_disk import MemoryDisk
from trioquorum.tree.nodes import DataTree
from trioquorum.tree.paths import CONFIG

GOOD = "ens-restart-snap-s1"
CURRENT = {"standalone-plain": 0, "ens-restart-snap-s1": 1, "ens-leader-loss-s3": 3, "ens-reconfig-s1": 2}


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``trioquorum`` with these arguments."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return lay_out(GOOD, tmp_path / "source")


def lay_out(name: str, folder: Path) -> Path:
    """An image as a data directory."""
    (folder / "version-2").mkdir(parents=True)
    for file, content in image(name).items():
        (folder / "version-2" / file).write_bytes(content)
    return folder


def listing(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def loaded(folder: Path) -> DataTree:
    """What a server would make of a directory."""
    return trio.run(load_directory, folder).tree


def backed_up(source: Path, folder: Path) -> dict[str, Any]:
    code, out, err = run("backup", folder, "--data-dir", source, "--json")
    assert (code, err) == (0, "")
    manifest: dict[str, Any] = json.loads(out)
    return manifest


# -- backup and restore ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CURRENT)
def test_a_restored_directory_holds_what_was_backed_up(name: str, tmp_path: Path) -> None:
    source = lay_out(name, tmp_path / "source")
    before = listing(source)
    manifest = backed_up(source, tmp_path / "backup")
    assert listing(source) == before
    assert sorted(listing(tmp_path / "backup")) == sorted(["backup.json", manifest["snapshot"]])
    assert manifest["epoch"] == CURRENT[name]
    peers = [tmp_path / f"peer{number}" for number in (1, 2, 3)]
    (tmp_path / "peer1").mkdir()
    (tmp_path / "peer1" / "myid").write_text("1\n")
    code, out, err = run("restore", tmp_path / "backup", *peers)
    assert (code, err) == (0, "")
    assert out.count(manifest["digest"]) == 3
    original = loaded(source)
    expected = expected_tree(name)
    for peer in peers:
        tree = loaded(peer)
        assert told(tree) == told(original)
        seen = seen_tree(tree)
        assert seen[CONFIG]["data"] == b""
        del seen[CONFIG], expected[CONFIG]
        assert seen == expected
        expected[CONFIG] = {}
        assert hex(tree.last_zxid) == manifest["zxid"]
        assert {name: text for name, text in listing(peer / "version-2").items() if "Epoch" in name} == {
            "acceptedEpoch": b"%d" % CURRENT[name],
            "currentEpoch": b"%d" % CURRENT[name],
        }


async def test_a_server_loads_what_was_restored(source: Path, tmp_path: Path) -> None:
    tree = (await load_directory(source)).tree
    archive.write(tmp_path / "backup", tree, source="here", epoch=1, now_ms=0)
    restore(tmp_path / "backup", [tmp_path / "new"], epoch=7)
    disk = MemoryDisk(listing(tmp_path / "new" / "version-2"))
    db = await load(disk)
    epochs = await Epochs.load(disk, db.last_zxid)
    assert (epochs.accepted, epochs.current) == (7, 1)
    assert db.digests.mismatches == 0
    assert told(db.tree) == told(tree)


def test_nothing_is_written_over(source: Path, tmp_path: Path) -> None:
    backed_up(source, tmp_path / "backup")
    before = listing(tmp_path)
    full = tmp_path / "full"
    for arguments in (
        ("backup", tmp_path / "backup", "--data-dir", source),
        ("backup", source, "--data-dir", source),
        ("restore", tmp_path / "backup", source),
        ("restore", tmp_path / "backup", full, "--log-dir", source),
        ("restore", tmp_path / "backup", full, source),
        ("import", source, "--to", tmp_path / "backup"),
    ):
        code, _, err = run(*arguments)
        assert code == 3, arguments
        assert "is not empty" in err
    assert listing(tmp_path) == before
    assert not full.exists()


def test_an_epoch_that_went_back_is_refused(source: Path, tmp_path: Path) -> None:
    backed_up(lay_out("ens-leader-loss-s3", tmp_path / "other"), tmp_path / "backup")
    code, _, err = run("restore", tmp_path / "backup", tmp_path / "new", "--epoch", 2)
    assert code == 2
    assert "choose 3 to" in err
    assert not (tmp_path / "new").exists()


def test_a_damaged_backup_is_refused(source: Path, tmp_path: Path) -> None:
    manifest = backed_up(source, tmp_path / "backup")
    snapshot = tmp_path / "backup" / manifest["snapshot"]
    content = snapshot.read_bytes()
    for at in range(0, len(content), 7):
        snapshot.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(CorruptSnapshot):
            archive.read(tmp_path / "backup")
    snapshot.write_bytes(content[:-3])
    code, _, err = run("restore", tmp_path / "backup", tmp_path / "new")
    assert code == 10
    assert manifest["snapshot"] in err
    snapshot.write_bytes(content)
    for key, value in {"zxid": "0x1", "digest": "0x1", "sha256": "", "snapshot": "../x", "counts": None}.items():
        (tmp_path / "backup" / "backup.json").write_text(json.dumps(manifest | {key: value}))
        with pytest.raises(CorruptSnapshot):
            archive.read(tmp_path / "backup")
    assert not (tmp_path / "new").exists()


def test_a_backup_is_there_whole_or_not_at_all(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "backup"))

    monkeypatch.setattr(archive, "write_durably", full)
    code, _, err = run("backup", tmp_path / "backup", "--data-dir", source)
    assert code == 3
    assert "No space left" in err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["source"]


def test_what_to_back_up_must_be_said_once(source: Path, tmp_path: Path) -> None:
    for arguments in ((), ("--data-dir", source, "--hosts", "127.0.0.1")):
        code, _, err = run("backup", tmp_path / "backup", *arguments)
        assert code == 2
        assert "--peers" in err


def test_nobody_to_ask_is_said(tmp_path: Path) -> None:
    code, _, err = run("backup", tmp_path / "backup", "--hosts", "127.0.0.1:1", "--patience", 0)
    assert code == 2
    assert "nobody answers" in err
    (tmp_path / "peers.toml").write_text(
        '[[peer]]\nid = 1\nquorum = "tcp://127.0.0.1:1"\nelection = "tcp://127.0.0.1:2"\n'
    )
    code, _, err = run("backup", tmp_path / "backup", "--peers", tmp_path / "peers.toml", "--patience", 0)
    assert code == 1
    assert "tcp://127.0.0.1:1" in err
    assert not (tmp_path / "backup").exists()


# -- import ------------------------------------------------------------------------------------------------------------


def report_of(*arguments: object) -> tuple[int, dict[str, Any]]:
    code, out, _ = run("import", *arguments, "--json")
    found: dict[str, Any] = json.loads(out)
    return code, found


def test_a_dry_run_tells_what_is_there(source: Path, tmp_path: Path) -> None:
    (source / "myid").write_text("1\n")
    (source / "zoo.cfg.dynamic.100000000").write_text("server.1=127.0.0.1:1:2;3\n")
    before = listing(source)
    code, report = report_of(source, "--dry-run")
    assert code == 0
    expected = expected_tree(GOOD)
    counts = report["counts"]
    assert counts["znodes"] == len(expected)
    assert counts["ephemerals"] == sum(node["stat"]["ephemeralOwner"] != 0 for node in expected.values())
    assert counts["data_bytes"] == sum(len(node["data"] or b"") for node in expected.values())
    assert [log["file"] for log in report["logs"]] == ["log.100000001", "log.1000002c5"]
    assert (report["first_zxid"], report["last_zxid"]) == ("0x100000001", "0x1000002c7")
    assert report["zxid"] == "0x1000002c7"
    assert report["from_snapshot"] == "0x1000002c4"
    assert report["replayed"] == 3
    assert (report["accepted_epoch"], report["current_epoch"], report["my_id"]) == ("1", "1", "1")
    assert report["config_files"] == [str(source / "zoo.cfg.dynamic.100000000")]
    assert report["notes"] == []
    assert listing(source) == before
    assert [file.name for file in tmp_path.iterdir()] == ["source"]


def test_an_import_is_a_copy(source: Path, tmp_path: Path) -> None:
    (source / "myid").write_text("1\n")
    code, out, err = run("import", source, "--to", tmp_path / "new")
    assert (code, err) == (0, "")
    assert "holds a copy" in out
    assert listing(tmp_path / "new") == listing(source)


def test_logs_of_their_own_directory_come_along(source: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs" / "version-2"
    logs.mkdir(parents=True)
    whole = listing(source)
    for file in (source / "version-2").glob("log.*"):
        shutil.move(file, logs / file.name)
    config = tmp_path / "zoo.cfg"
    config.write_text(f"dataDir={source}\ndataLogDir={tmp_path / 'logs'}\nclientPort=2181\njute.maxbuffer=1\n")
    for number, arguments in enumerate([(source, "--log-dir", tmp_path / "logs"), (config,)]):
        code, report = report_of(*arguments, "--dry-run")
        assert code == 0
        assert report["txns"] > report["replayed"] > 0
        assert run("import", *arguments, "--to", tmp_path / f"new{number}")[0] == 0
        assert listing(tmp_path / f"new{number}") == whole


def test_what_a_server_would_say_is_noted(tmp_path: Path) -> None:
    for name, said in {
        "torn-cut-mid-record": "log.26 ends in half a record",
        "snap-flip": "snapshot.25 cannot be used",
        "snap-digest-mismatch": "at 0x25 the digest is",
    }.items():
        folder = lay_out(name, tmp_path / name)
        code, report = report_of(folder, "--dry-run")
        assert code == 0
        assert said in "\n".join(report["notes"])
        code, _, _ = run("import", folder, "--to", tmp_path / f"{name}-new")
        assert code == 0
        assert told(loaded(tmp_path / f"{name}-new")) == told(loaded(folder))


@pytest.mark.parametrize("name", ["flip-middle-txn", "log-bad-magic"])
def test_damage_is_refused_and_said(name: str, tmp_path: Path) -> None:
    folder = lay_out(name, tmp_path / "source")
    code, report = report_of(folder, "--to", tmp_path / "new")
    assert code == 10
    assert "damaged" in report["refused"]
    assert any("damaged" in log["problem"] for log in report["logs"])
    assert all(not snapshot["problem"] for snapshot in report["snapshots"])
    assert not (tmp_path / "new").exists()


def test_epochs_that_contradict_are_refused(source: Path) -> None:
    (source / "version-2" / "acceptedEpoch").write_text("0")
    code, report = report_of(source, "--dry-run")
    assert code == 10
    assert "acceptedEpoch is 0" in report["refused"]
    for name in ("acceptedEpoch", "currentEpoch"):
        (source / "version-2" / name).unlink()
    code, report = report_of(source, "--dry-run")
    assert code == 0
    assert report["notes"] == [
        "acceptedEpoch is missing: a server takes 1",
        "currentEpoch is missing: a server takes 1",
    ]


def test_where_to_must_be_said(source: Path, tmp_path: Path) -> None:
    for arguments in ((), ("--to", tmp_path / "new", "--dry-run")):
        code, _, err = run("import", source, *arguments)
        assert code == 2
        assert "--dry-run" in err
    for empty in (tmp_path, tmp_path / "nowhere"):
        code, _, err = run("import", empty, "--dry-run")
        assert code == 3
        assert "there is n" in err


def test_the_images_are_what_they_are() -> None:
    """Guards the tests above: there are ephemerals, sessions and containers in what they compare."""
    tree = trio.run(partial(load, MemoryDisk(image("standalone-plain")))).tree
    assert all((tree.sessions, tree.ephemerals, tree.containers, tree.ttls))
