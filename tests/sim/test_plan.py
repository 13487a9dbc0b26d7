"""What a seed stands for, and how a failing plan is made smaller."""

import msgspec
import pytest

from trioquorum.errors import ConfigError
from trioquorum.testing.plan import DISK, KINDS, Plan, draw, kinds_of
from trioquorum.testing.shrink import shrink

WORKLOADS = ("a", "b", "c")


def test_a_seed_is_one_plan() -> None:
    assert draw(7, WORKLOADS) == draw(7, WORKLOADS)
    assert draw(7, WORKLOADS) != draw(8, WORKLOADS)


def test_what_is_fixed_leaves_the_rest_as_it_was() -> None:
    drawn, fixed = draw(7, WORKLOADS), draw(7, WORKLOADS, peers=5)
    assert fixed.peers == 5
    assert fixed.strikes == drawn.strikes
    assert fixed.settings == drawn.settings
    only_disks = draw(7, WORKLOADS, kinds=DISK)
    assert only_disks.strikes == tuple(strike for strike in drawn.strikes if strike.kind in DISK)


def test_over_many_seeds_everything_is_drawn() -> None:
    plans = [draw(seed, WORKLOADS) for seed in range(300)]
    assert {strike.kind for plan in plans for strike in plan.strikes} == set(KINDS)
    assert {plan.peers for plan in plans} == {1, 2, 3, 4, 5}
    assert {plan.observers for plan in plans} == {0, 1, 2}
    assert any(plan.groups for plan in plans)
    assert {len(plan.masters) for plan in plans} >= {0, 1, 3}
    assert all(plan.observers for plan in plans if plan.masters)
    assert {plan.peers for plan in plans if "oracle_path" in plan.settings} == {2}
    for plan in plans:
        assert not plan.settings.get("read_only_enabled") or "partition" in {strike.kind for strike in plan.strikes}
    assert {plan.settings.get("read_only_enabled", False) for plan in plans} == {False, True}
    drawn = {name for plan in plans for name in (*plan.settings, *plan.limits)}
    assert drawn >= {"leader_serves", "force_snapshot_sync", "snapshot_syncs_max", "epoch_txns_max"}
    assert sum("epoch_txns_max" in plan.limits for plan in plans) < len(plans) / 5
    assert any(not plan.strikes for plan in plans)
    assert {plan.workloads for plan in plans} >= {("a",), ("a", "b", "c")}
    assert 0 < sum(plan.stormy for plan in plans) < len(plans) / 8


def test_a_plan_survives_being_written_down() -> None:
    plan = draw(7, WORKLOADS)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


@pytest.mark.parametrize(
    ("text", "kinds"),
    [("all", KINDS), ("none", ()), ("disk", DISK), ("crash, cut", ("cut", "crash"))],
)
def test_faults_are_named(text: str, kinds: tuple[str, ...]) -> None:
    assert kinds_of(text) == kinds


def test_an_unknown_fault_is_an_error_that_lists_them() -> None:
    with pytest.raises(ConfigError, match="'meteor'; choose from all, none, network"):
        kinds_of("disk,meteor")


def busy(strikes: int) -> Plan:
    return next(plan for seed in range(1000) if len((plan := draw(seed, WORKLOADS)).strikes) >= strikes)


def test_shrinking_finds_the_strikes_and_the_workload_that_it_takes() -> None:
    plan = msgspec.structs.replace(busy(12), workloads=WORKLOADS)
    needed = {plan.strikes[2], plan.strikes[9]}

    def fails(part: Plan) -> bool:
        return needed <= set(part.strikes) and "b" in part.workloads

    found = shrink(plan, fails)
    assert found.strikes == (2, 9)
    assert found.workloads == ("b",)
    assert fails(plan.keeping(found.strikes, found.workloads))


def test_shrinking_has_a_bound() -> None:
    runs = 0

    def fails(part: Plan) -> bool:
        nonlocal runs
        runs += 1
        return False

    assert shrink(busy(12), fails, runs_max=5).runs == runs == 5


def test_what_fails_by_itself_shrinks_to_nothing() -> None:
    found = shrink(busy(5), lambda part: True)
    assert found.strikes == ()
    assert found.workloads == ()
