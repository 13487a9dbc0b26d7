"""Which of ZooKeeper's own server tests hold here, and what shows it.

Numbers are those of our list of them, made from Apache ZooKeeper's trunk; ``what`` says in our words what must hold.
A test is named by file and function, a script of it in brackets.
"""

import ast
from functools import cache
from pathlib import Path

import pytest
from msgspec import Struct

TESTS = Path(__file__).parents[1]

ELECTION = "election/test_scripts.py::test_script[{}]"
LEARNER = "zab/test_learner.py::test_script[{}]"
LEADER = "zab/test_leader.py::test_script[{}]"
SYNC = "zab/test_sync_plan.py::test_script[{}]"
HANDSHAKE = "zab/test_handshake.py::test_script[{}]"
TRAP = "scripts/test_traps.py::test_script[{}]"
CASES = "upstream/test_cases.py::"
RAW_LEADER = "upstream/test_raw_leader.py::"
RAW_LEARNER = "upstream/test_raw_learner.py::"
ENSEMBLE = "sim/test_ensemble.py::"
LOCAL = "sim/test_local_sessions.py::"
RECONFIG = "reconfig/test_ensembles.py::"
JOINING = "reconfig/test_joining.py::"

FOLDERS = {
    "election/test_scripts.py": "election",
    "zab/test_learner.py": "learner",
    "zab/test_leader.py": "leader",
    "zab/test_sync_plan.py": "sync",
    "zab/test_handshake.py": "handshake",
    "scripts/test_traps.py": "traps",
    "zab/test_reconfig.py": "reconfig",
}
"""Where the scripts of a module lie."""


class Row(Struct, frozen=True):
    """One scenario; ``but`` says what of it does not apply here, and why."""

    what: str
    shown: tuple[str, ...]
    but: str = ""


def row(what: str, *shown: str, but: str = "") -> Row:
    return Row(what, shown, but)


ROWS: dict[int, Row] = {
    # Election
    1: row(
        "the leader goes back to looking once, twice, three times; each time all agree on one that a quorum backs",
        ELECTION.format("seven_peers"),
        ELECTION.format("failover"),
    ),
    2: row(
        "a late peer adopts the standing leader, also after a stale vote from it",
        ELECTION.format("late_joiner"),
        ELECTION.format("late_joiner_stale_vote"),
        "election/test_electing.py::test_a_late_joiner_adopts_the_standing_leader_at_once",
    ),
    3: row("a lower round takes over the higher one and still agrees", ELECTION.format("newer_round")),
    4: row("a leader emerges although peers start over and over", ELECTION.format("restarts")),
    5: row("votes are ordered by epoch, then zxid, then id", ELECTION.format("vote_order")),
    6: row("a peer of weight 0 is never elected", ELECTION.format("zero_weight")),
    7: row(
        "settled votes count by leader and epoch, of old versions by leader; looking ones only in the same round",
        ELECTION.format("out_of_election"),
        TRAP.format("06-late-server-never-joins"),
    ),
    8: row("a round never goes backwards to votes of an older one", ELECTION.format("backward_round")),
    9: row("a lost notification is sent again", ELECTION.format("lost_messages"), ELECTION.format("silence")),
    10: row(
        "a notification without sense is dropped and nothing else; a later one elects",
        "election/test_links.py::test_a_message_without_sense_is_dropped_and_the_link_lives",
        "wire/test_election.py::test_java_notifications_that_are_none",
        TRAP.format("11-one-bad-connection-ends-the-listener"),
    ),
    11: row(
        "who believes that it leads, without support, gives up and follows",
        CASES + "test_a_leader_by_forged_votes_gives_up",
        ELECTION.format("fraud"),
    ),
    12: row("a leader outside a peer's configuration is never followed", CASES + "test_a_leader_out_of_view"),
    13: row(
        "a voter that looks again instead of following harms no quorum of others; without one the leader gives up",
        "sim/test_desertion.py::test_a_quorum_of_the_loyal_does_not_mind_a_deserter",
        "sim/test_desertion.py::test_a_leader_gives_up_when_its_electors_look_again",
    ),
    14: row(
        "what an abandoned leader logged is cut from it when it comes last; older sessions see one history",
        CASES + "test_the_last_zxid_of_an_abandoned_leader_is_taken_back",
    ),
    # Election links
    15: row(
        "dead, silent, hostile and doubled links delay nobody, spin nowhere, and leave nothing",
        "election/test_links.py::test_a_dial_that_hangs_is_given_up",
        "election/test_links.py::test_a_dead_address_delays_nobody_and_is_not_hammered",
        "election/test_links.py::test_callers_that_say_nothing_are_bounded",
        "election/test_links.py::test_hostile_callers_are_turned_away",
        "election/test_links.py::test_a_frame_over_the_limit_ends_the_link_only",
        "election/test_links.py::test_nothing_is_left_when_it_stops",
        "wire/test_election.py::test_java_hellos_that_are_none",
        TRAP.format("07-a-dead-peer-blocks-the-others"),
        but="a port in use is an error at start, at once: a second try would hide the other server for a while",
    ),
    16: row(
        "hostile frames at the quorum port leave the leader serving",
        "hostile/test_quorum_port.py::test_a_wrong_first_frame",
        "hostile/test_quorum_port.py::test_a_frame_over_the_limit",
        "hostile/test_quorum_port.py::test_a_synchronised_learner_that_breaks_the_protocol",
    ),
    # Discovery and synchronisation
    19: row(
        "a follower of a fresh leader: epoch, DIFF, NEWLEADER, UPTODATE",
        RAW_LEARNER + "test_a_follower_of_a_fresh_leader",
    ),
    20: row(
        "by SNAP: each promise is on disk when its packet leaves, nothing shows before its commit",
        RAW_LEADER + "test_snapshot_then_proposals",
        but="our snapshot is on disk as soon as it is whole, before NEWLEADER comes",
    ),
    21: row(
        "proposals and commits inside DIFF, between ACK and UPTODATE and behind it are applied once, in order",
        RAW_LEADER + "test_diff_with_proposals_on_both_sides_of_newleader",
        LEARNER.format("diff"),
    ),
    22: row(
        "an observer applies INFORM before and after UPTODATE and acknowledges no proposal",
        RAW_LEADER + "test_an_observer_is_informed",
        LEARNER.format("observer"),
    ),
    23: row(
        "equal histories are never synchronised by SNAP",
        RAW_LEARNER + "test_a_follower_with_the_same_history_takes_no_snapshot",
    ),
    24: row(
        "a leader behind proposes above what its follower accepted",
        RAW_LEARNER + "test_a_leader_behind_proposes_above_its_follower",
        HANDSHAKE.format("discovery"),
    ),
    25: row(
        "who comes second does not move the epoch; without a quorum's ACKEPOCH the current epoch stays; lost files",
        RAW_LEARNER + "test_who_comes_second_does_not_move_the_epoch",
        RAW_LEARNER + "test_no_quorum_accepts_the_epoch",
        "storage/test_epochs.py::test_start",
    ),
    26: row(
        "who pings and never acknowledges is given up in time",
        RAW_LEARNER + "test_a_follower_that_pings_and_never_acknowledges",
        LEADER.format("liveness"),
    ),
    27: row(
        "the table of DIFF, TRUNC and SNAP",
        SYNC.format("committed_log"),
        SYNC.format("disk_log"),
        SYNC.format("epochs"),
    ),
    28: row(
        "after TRUNC inside a file, at its border, to nothing: exactly the rest is read back",
        "storage/test_txn_log.py::test_truncate_keeps_what_is_not_behind",
        "storage/test_database.py::test_truncate_forgets_in_memory_and_on_disk",
        "storage/test_database.py::test_a_crash_while_truncating",
        ENSEMBLE + "test_a_write_that_no_quorum_has_is_taken_back",
    ),
    29: row(
        "newest peers wiped: the one that is ahead is cut back; logs gone: the snapshots are enough",
        CASES + "test_the_newest_peers_lost_their_data",
        CASES + "test_state_that_is_in_snapshots_alone",
    ),
    30: row(
        "a follower comes back under load by each way, is killed on the way, and is equal in the end",
        ENSEMBLE + "test_learners_join_at_once_though_writes_go_on",
        ENSEMBLE + "test_a_crash_in_the_middle_of_a_snapshot",
        ENSEMBLE + "test_a_watch_moves_with_its_client_and_misses_nothing",
        TRAP.format("25-two-tasks-log-during-sync"),
    ),
    31: row(
        "a snapshot ahead of the packets behind it, and a crash right after it was written: nothing is lost",
        RAW_LEADER + "test_a_snapshot_ahead_of_what_is_queued_behind_it",
        TRAP.format("13-snapshot-not-on-disk"),
    ),
    32: row(
        "SNAP, a crash before what follows is logged, DIFF: no gap",
        RAW_LEADER + "test_diff_after_a_snapshot_whose_followers_were_not_logged",
    ),
    33: row(
        "what only the isolated leader has is cut off when it comes back",
        ENSEMBLE + "test_a_write_that_no_quorum_has_is_taken_back",
        TRAP.format("02-uncommitted-in-a-snapshot"),
    ),
    34: row(
        "half a DIFF is no history; what is uncommitted is not taken for committed; ephemerals stay deleted",
        RAW_LEADER + "test_a_follower_that_gets_half_a_diff",
        CASES + "test_an_ephemeral_stays_deleted_though_its_deletion_was_read_in_half_a_diff",
        TRAP.format("09-diff-taken-for-processed"),
    ),
    35: row(
        "history, then epoch, then ACK of NEWLEADER; early ACKs of proposals do no harm",
        RAW_LEADER + "test_a_power_cut_while_a_diff_is_taken_over",
        RAW_LEARNER + "test_proposals_acknowledged_before_newleader",
        TRAP.format("21-newleader-acknowledged-too-early"),
        TRAP.format("22-epoch-before-its-history"),
        TRAP.format("23-uncommitted-acknowledged-too-early"),
    ),
    36: row(
        "observers count in no quorum: epoch, its acceptance, its history",
        HANDSHAKE.format("discovery"),
        HANDSHAKE.format("accepting"),
        HANDSHAKE.format("newleader"),
    ),
    37: row(
        "at the last counter a new epoch begins; data and clients stay, again and again, also with restarts",
        "sim/test_rollover.py::test_an_ensemble_goes_through_epochs",
        "sim/test_rollover.py::test_a_server_on_its_own_goes_on_in_the_next_epoch",
        TRAP.format("01-counter-wraps-into-the-epoch"),
    ),
    38: row(
        "who cannot write an epoch never serves, and keeps the one it had; an unfinished epoch file is recovered from",
        "sim/test_trust.py::test_a_peer_that_cannot_write_its_epoch_never_serves",
        "storage/test_epochs.py::test_start",
    ),
    # Requests and sessions
    39: row(
        "order within a session, no waiting between sessions; a commit out of order ends the role",
        CASES + "test_order_within_a_session_and_none_between_sessions",
        "regressions/test_sync_order.py::test_a_sync_and_the_write_behind_it_are_both_answered",
        LEARNER.format("broadcast"),
        "storage/test_database.py::test_commits_follow_the_log",
    ),
    40: row(
        "later requests see pending changes; a failed multi leaves none; versions wrap; a session's pending ephemerals",
        "tree/test_prep.py::test_later_requests_see_what_is_only_proposed",
        "tree/test_multi.py::test_a_failed_multi_keeps_earlier_pending_changes",
        "tree/test_prep.py::test_versions_wrap_and_leave_out_minus_one",
        "tree/test_prep.py::test_closing_a_session_takes_pending_ephemerals_along",
        TRAP.format("04-multi-leaves-traces"),
    ),
    41: row(
        "the quorum goes with requests in flight: the leader steps down, every request ends",
        CASES + "test_a_leader_loses_its_quorum_with_many_requests_in_flight",
        ENSEMBLE + "test_a_leader_without_its_quorum_steps_down_in_time",
    ),
    42: row(
        "a session that moved ends its old connection; a stopping leader ends every request; multi by a follower",
        CASES + "test_the_old_connection_of_a_session_that_moved",
        CASES + "test_every_queued_request_ends_when_the_leader_stops",
        ENSEMBLE + "test_a_multi_happens_on_every_peer_or_on_none",
    ),
    43: row(
        "the end of a session replays equally with and without its list of ephemerals; the first ephemeral upgrades a "
        "local session once, also if its goodbye is right behind",
        "tree/test_nodes.py::test_closing_a_session_deletes_what_is_listed_and_then_what_is_left",
        "storage/test_images.py::test_a_directory_of_zookeeper_loads",
        TRAP.format("16-close-session-over-a-fuzzy-snapshot"),
        LOCAL + "test_the_first_ephemeral_upgrades",
        LOCAL + "test_an_upgrade_and_a_goodbye_at_once",
    ),
    44: row(
        "timeouts within bounds; sessions are used again, move, expire on time, also after a change of the leader",
        "sim/test_sessions.py::test_the_server_grants_timeouts_between_two_and_twenty_ticks",
        "sim/test_sessions.py::test_a_silent_session_expires_at_its_tick",
        "sim/test_sessions.py::test_pings_keep_sessions_alive_everywhere",
        "sim/test_sessions.py::test_a_new_leader_gives_every_session_its_full_timeout",
        ENSEMBLE + "test_five_peers_survive_their_leader",
        LOCAL + "test_it_comes_back_to_its_peer_and_to_no_other",
        LOCAL + "test_who_is_silent_is_expired_by_its_peer_or_by_the_leader",
    ),
    45: row(
        "multis while a snapshot is written or sent are all or nothing; counters and sessions are right at once",
        CASES + "test_multis_while_a_snapshot_is_under_way",
        "storage/test_snapshot.py::test_a_fuzzy_snapshot_and_its_log_load_exactly",
        TRAP.format("15-half-a-multi"),
    ),
    46: row(
        "digests are equal after DIFF, SNAP and replay; what is missing is noticed",
        CASES + "test_digests_are_equal_however_a_peer_came_by_its_tree",
        "storage/test_database.py::test_digests_of_the_log_are_compared",
        TRAP.format("26-a-hole-in-the-committed-log"),
    ),
    # Storage
    47: row(
        "a damaged or cut snapshot gives way to the one before, and is found by its checksum",
        "storage/test_images.py::test_a_bad_snapshot_gives_way_to_an_older_one",
        "storage/test_snapshot.py::test_any_flipped_bit_is_found",
        "storage/test_snapshot.py::test_no_part_of_a_snapshot_is_a_snapshot",
    ),
    48: row(
        "a log without a usable snapshot is refused unless an operator vouches for it; a wiped voter does not vote",
        "storage/test_trust.py::test_a_log_without_a_snapshot_is_refused",
        "storage/test_trust.py::test_a_log_without_a_snapshot_is_all_there_is_when_an_operator_says_so",
        "sim/test_trust.py::test_two_voters_of_three_must_not_outvote_what_they_lost",
        TRAP.format("08-lost-snapshot-is-no-empty-database"),
    ),
    49: row(
        "snapshot and log lead to the same tree, failed writes included; the committed log is filled up to its bound",
        "storage/test_database.py::test_nothing_durable_is_ever_lost",
        "storage/test_database.py::test_the_newest_committed_are_kept_from_the_log",
        "tree/test_properties.py::test_replay_over_a_fuzzy_snapshot_leads_to_the_same_tree",
    ),
    50: row(
        "logs grow in steps and give space back; empty last files are no harm, in the middle they are damage",
        "storage/test_disk.py::test_space_is_allocated_ahead_and_given_back",
        "storage/test_txn_log.py::test_a_last_file_that_never_got_its_header_is_removed",
        "storage/test_txn_log.py::test_an_empty_file_in_the_middle_is_damage",
        TRAP.format("33-empty-last-log"),
        but="there is no limit on the size of one log: a new one begins with every snapshot",
    ),
    51: row(
        "a leader that cannot write its log leaves; the others elect and serve",
        CASES + "test_a_leader_that_cannot_write_its_log_leaves",
    ),
    # Membership
    52: row(
        "members come, go and swap roles, one by one and all at once, the leader too; ports and groups change;"
        " who was away learns of it",
        RECONFIG + "test_one_peer_grows_to_five_and_shrinks_back",
        RECONFIG + "test_the_leader_is_removed_and_hands_over",
        RECONFIG + "test_all_members_are_exchanged_at_once",
        RECONFIG + "test_roles_are_swapped",
        RECONFIG + "test_an_observer_joins_and_leaves",
        RECONFIG + "test_a_port_changes",
        RECONFIG + "test_a_blocked_port_is_tried_until_it_is_free",
        RECONFIG + "test_groups_come_and_go",
        RECONFIG + "test_a_new_voter_is_needed_at_once",
        RECONFIG + "test_a_peer_that_was_away_learns_the_configuration",
    ),
    53: row(
        "a proposal that a crash left is completed with a quorum of its own, and joined where it is in force",
        "reconfig/test_crashes.py::test_a_pending_file_is_completed_at_start",
        "reconfig/test_crashes.py::test_no_progress_without_a_quorum_of_the_new_one",
        JOINING + "test_a_pending_membership_needs_its_own_quorum",
        JOINING + "test_a_peer_with_a_pending_membership_joins_where_it_is_in_force",
        JOINING + "test_observers_become_voters_by_an_election",
    ),
    54: row(
        "refused with its own error: groups one by one, too few, a wrong version, nobody synced, disabled, no right",
        RECONFIG + "test_requests_that_are_refused",
        RECONFIG + "test_groups_come_and_go",
        RECONFIG + "test_a_reconfiguration_where_it_is_disabled",
        "zab/test_reconfig.py::test_script[refusals]",
    ),
    55: row(
        "a reconfiguration while a learner is brought up to date; one peer grows to five and back",
        JOINING + "test_a_reconfiguration_while_a_learner_is_brought_up_to_date",
        JOINING + "test_a_learner_is_not_told_that_a_proposal_is_committed",
        RECONFIG + "test_one_peer_grows_to_five_and_shrinks_back",
    ),
    56: row(
        "an observer goes and comes back with the quorum; fed by a follower it keeps the order, its sessions go on",
        ENSEMBLE + "test_an_observer_serves_and_does_not_vote",
        "sim/test_observer_master.py::test_a_session_reads_its_own_writes_and_syncs",
        "sim/test_observer_master.py::test_a_session_moves",
        "sim/test_observer_master.py::test_a_session_outlives_whoever_is_lost",
        "sim/test_observer_master.py::test_an_observer_without_any_master_comes_back_with_one",
    ),
    57: row(
        "weighted groups decide by most of most of them; of two voters one goes on alone when its oracle says so",
        CASES + "test_groups_decide_by_most_of_most_of_them",
        "zab/test_quorum.py::test_weights_decide_within_a_group",
        "sim/test_oracle.py::test_the_other_one_goes_on_without_the_leader",
        "sim/test_oracle.py::test_without_its_word_one_of_two_is_no_quorum",
    ),
    # What clients see
    58: row(
        "multi and multi-read: results and errors of each part, and no watch of one that failed",
        "tree/test_recorded.py::test_answers_are_zookeepers",
        "tree/test_multi.py::test_a_failed_multi_tells_each_part_and_leaves_no_trace",
        "tree/test_multi.py::test_checks_inside_a_multi",
    ),
    59: row(
        "which change fires which watch; watches set again after a reconnect; removal by kind",
        "tree/test_recorded.py::test_answers_are_zookeepers",
        "tree/test_watches.py::test_the_table_agrees_with_a_plain_one",
        "tree/test_watch_rows.py::test_what_registers_which_watch",
        "tree/test_watch_rows.py::test_what_fires_which_watch",
        "tree/test_reads.py::test_set_watches_tells_what_was_missed",
        "client/test_client_core.py::test_many_watches_are_set_again_in_pieces",
    ),
    60: row(
        "containers go when they are empty, TTL nodes when they are idle and childless, both by the leader alone",
        "tree/test_cleanup.py::test_what_the_clean_up_may_take",
        "sim/test_sweeping.py::test_containers_go_when_they_are_emptied_or_never_used",
        "sim/test_sweeping.py::test_ttl_nodes_go_when_they_are_idle_and_have_no_children",
        "sim/test_sweeping.py::test_a_client_may_not_sweep",
        "interop/test_clean_up.py::test_a_server_cleans_up",
    ),
    61: row(
        "limits on nodes and bytes, soft and hard, on create, set and multi; enforced only where that is configured",
        "tree/test_quotas.py::test_a_hard_limit_is_kept",
        "tree/test_quotas.py::test_a_limit_is_only_told_of_unless_it_is_hard_and_enforced",
        "tree/test_quotas.py::test_a_multi_sees_its_own_data",
        "tree/test_quotas.py::test_stats_are_what_there_is",
        "sim/test_quotas.py::test_hard_limits_are_kept_by_every_peer",
    ),
    62: row(
        "the schemes and what each operation needs; super; ACLs are shown without secrets",
        "tree/test_prep.py::test_each_operation_needs_its_own_permission",
        "tree/test_acl.py::test_redacted_hides_hashes_only",
        "tree/test_acl.py::test_fixup_drops_duplicates_and_resolves_auth",
        "sim/test_early_acl.py::test_a_peer_refuses_what_its_own_tree_forbids",
        "sim/test_early_acl.py::test_what_is_under_way_may_change_the_answer",
    ),
    63: row(
        "a peer without a quorum serves reads to who asks for that, refuses writes, and gives its clients back",
        "sim/test_read_only.py::test_reads_and_watches_but_no_writes",
        "sim/test_read_only.py::test_who_asks_for_more_is_not_let_in",
        "sim/test_read_only.py::test_a_client_leaves_for_a_server_with_a_leader",
        "sim/test_read_only.py::test_a_session_of_the_ensemble_waits_for_it",
    ),
}

ELSEWHERE: dict[int, str] = {
    17: "TLS between peers is a transport's business: no scenario of the protocol",
    18: "SASL between peers: authentication, no scenario of the protocol",
    64: "four-letter words concern one server alone, not the quorum; what reads them is tested in cli/test_status.py",
}
"""Scenarios without a test here, and why."""


@cache
def functions(file: str) -> frozenset[str]:
    """The tests of a module."""
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def exists(test: str) -> bool:
    """Whether there is such a test, and such a script if it names one."""
    file, _, rest = test.partition("::")
    name, _, script = rest.partition("[")
    if not (TESTS / file).is_file() or name not in functions(file):
        return False
    return not script or (TESTS / "scripts" / FOLDERS[file] / f"{script.removesuffix(']')}.txt").is_file()


@pytest.mark.parametrize("number", ROWS)
def test_what_is_named_exists(number: int) -> None:
    shown = ROWS[number].shown
    assert shown
    assert [test for test in shown if not exists(test)] == []
    assert len(set(shown)) == len(shown)


def test_a_row_is_shown_or_has_its_reason() -> None:
    assert ROWS.keys().isdisjoint(ELSEWHERE)
    assert ROWS.keys() | ELSEWHERE.keys() == set(range(1, 65))


def test_a_test_that_is_not_there_is_noticed() -> None:
    assert exists(ELECTION.format("seven_peers"))
    assert not exists(ELECTION.format("eight_peers"))
    assert not exists(CASES + "test_nothing")
    assert not exists("nowhere/test_cases.py::test_script")
