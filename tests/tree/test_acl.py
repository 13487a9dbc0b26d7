import pytest

from trioquorum.errors import Code, CorruptSnapshot, RequestFailed
from trioquorum.tree.acl import (
    OPEN_ACL,
    OPEN_ACL_ID,
    AclCache,
    allowed,
    check_acl,
    digest_id,
    fixup_acl,
    redacted,
)
from trioquorum.wire.ops import Perm
from trioquorum.wire.records import OPEN_ACL_BYTES, Acl, SetAclRequest

BOB = ("digest", "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=")
HERE = ("ip", "127.0.0.1")


def test_digest_ids() -> None:
    assert digest_id(b"bob:secret") == BOB[1]
    assert digest_id(b"bob:x:y").startswith("bob:")
    assert digest_id(b"nobody").startswith("nobody:")  # any text becomes an id
    assert digest_id(b"\xff:a").startswith("\ufffd:")


def test_the_open_acl_is_known_by_its_bytes() -> None:
    assert OPEN_ACL_BYTES in SetAclRequest("/a", list(OPEN_ACL), -1).encode()


@pytest.mark.parametrize(
    ("entry", "who", "granted"),
    [
        (Acl(Perm.READ, "world", "anyone"), [], True),
        (Acl(Perm.WRITE, "world", "anyone"), [], False),
        (Acl(Perm.ALL, "world", "other"), [HERE], False),
        (Acl(Perm.READ, *BOB), [HERE, BOB], True),
        (Acl(Perm.READ, *BOB), [HERE], False),
        (Acl(Perm.READ, "digest", "bob:other"), [BOB], False),
        (Acl(Perm.WRITE, *BOB), [("super", "")], True),
        (Acl(Perm.READ, "ip", "127.0.0.1"), [HERE], True),
        (Acl(Perm.READ, "ip", "127.0.0.0/8"), [HERE], True),
        (Acl(Perm.READ, "ip", "127.0.0.2/32"), [HERE], False),
        (Acl(Perm.READ, "ip", "10.0.0.0/8"), [HERE], False),
        (Acl(Perm.READ, "ip", "::/0"), [HERE], False),
        (Acl(Perm.READ, "ip", "::1"), [("ip", "0:0:0:0:0:0:0:1")], True),
        (Acl(Perm.READ, "ip", "127.0.0.1"), [("ip", "memory")], False),
        (Acl(Perm.READ, "digest", None), [BOB], False),
    ],
)
def test_who_may_read(entry: Acl, who: list[tuple[str, str]], granted: bool) -> None:
    assert allowed((entry,), Perm.READ, who) is granted


def test_several_bits_mean_any_of_them_and_an_empty_acl_means_everyone() -> None:
    assert allowed((Acl(Perm.ADMIN, "world", "anyone"),), Perm.READ | Perm.ADMIN, [])
    assert allowed((), Perm.WRITE, [])
    with pytest.raises(RequestFailed, match="NOAUTH"):
        check_acl((Acl(Perm.READ, "world", "anyone"),), Perm.WRITE, [])


def test_fixup_drops_duplicates_and_resolves_auth() -> None:
    open_entry = Acl(31, "world", "anyone")
    assert fixup_acl([open_entry, Acl(31, "world", "anyone"), Acl(1, "world", "anyone")], []) == [
        open_entry,
        Acl(1, "world", "anyone"),
    ]
    assert fixup_acl([Acl(3, "auth", "")], [HERE, BOB, ("digest", "al:x")]) == [
        Acl(3, *BOB),
        Acl(3, "digest", "al:x"),
    ]
    assert fixup_acl([Acl(3, "ip", "10.0.0.0/8"), Acl(1, "digest", "a:b")], []) == [
        Acl(3, "ip", "10.0.0.0/8"),
        Acl(1, "digest", "a:b"),
    ]


@pytest.mark.parametrize(
    "acl",
    [
        None,
        [],
        [Acl(31, None, "anyone")],
        [Acl(31, "world", None)],
        [Acl(31, "world", "other")],
        [Acl(31, "nosuch", "x")],
        [Acl(31, "super", "")],
        [Acl(31, "digest", "nocolon")],
        [Acl(31, "digest", "a:b:c")],
        [Acl(31, "ip", "999.1.1.1")],
        [Acl(31, "ip", "10.0.0.0/33")],
        [Acl(31, "ip", "10.0.0.0/255.0.0.0")],
        [Acl(31, "ip", "10.0.0.0/")],
        [Acl(31, "world", "anyone"), Acl(31, "auth", "")],
    ],
)
def test_malformed_acls(acl: list[Acl] | None) -> None:
    with pytest.raises(RequestFailed) as failed:
        fixup_acl(acl, [HERE])
    assert failed.value.code is Code.INVALIDACL


def test_redacted_hides_hashes_only() -> None:
    acl = (Acl(1, *BOB), Acl(31, "world", "anyone"), Acl(2, "ip", "1.2.3.4"))
    assert redacted(acl) == [Acl(1, "digest", "bob:x"), acl[1], acl[2]]


def test_ids_are_shared_released_and_never_given_twice() -> None:
    acls = AclCache()
    assert acls.acquire(list(OPEN_ACL)) == acls.acquire(None) == OPEN_ACL_ID
    first = acls.acquire([Acl(1, "world", "anyone")])
    assert acls.acquire([Acl(1, "world", "anyone")]) == first
    acls.release(first)
    assert acls.get(first) == (Acl(1, "world", "anyone"),)
    acls.release(first)
    with pytest.raises(CorruptSnapshot):
        acls.get(first)
    assert acls.acquire([Acl(1, "world", "anyone")]) > first
    assert len(acls.by_id) == 1


def test_a_snapshot_may_name_an_id_that_it_lacks_and_the_id_stays_taken() -> None:
    acls = AclCache()
    acls.restore(3, [Acl(1, "world", "anyone")])
    acls.restore(4, [Acl(2, "world", "anyone")])
    acls.restore_use(3)
    acls.restore_use(9)
    acls.drop_unused()
    assert set(acls.by_id) == {3}
    assert acls.acquire([Acl(4, "world", "anyone")]) == 10
    acls.release(9)
    assert acls.acquire([Acl(1, "world", "anyone")]) == 3
