// Events in words, those of elections as `trioquorum explain` says them. Pure.
import { big, zxidText } from "./state.js";

/** The vote of a peer at some time: the fact of a `round_started` or `vote_changed` event.
 * @typedef {{round: number, leader: number, zxid: number|bigint, peer_epoch: number}} Vote */

const UNTRUSTED_ZXID = -1n;

/** "peer 1", or "peers 1, 2". */
export const peersText = (ids) =>
  ids.length === 0 ? "nobody" : ids.length === 1 ? `peer ${ids[0]}` : `peers ${[...ids].join(", ")}`;

const history = (zxid) => (big(zxid) === UNTRUSTED_ZXID ? "no history" : `zxid ${zxidText(zxid)}`);
const candidate = (vote) =>
  vote.leader < 0
    ? "nobody, it only looks on"
    : `peer ${vote.leader} (epoch ${vote.peer_epoch}, ${history(vote.zxid)})`;
const hex = (session) => `0x${BigInt.asUintN(64, BigInt(session)).toString(16)}`;
const count = (number, what) => `${number} ${what}${Number(number) === 1 ? "" : "s"}`;

/** Why one vote is better than another: by epoch, history, then id; empty if it is not. Any is better than none. */
export function advantage(one, other) {
  if (one.leader < 0) return "";
  if (other.leader < 0) return "there was no vote before";
  if (one.peer_epoch !== other.peer_epoch) {
    return one.peer_epoch > other.peer_epoch ? `epoch ${one.peer_epoch} is after ${other.peer_epoch}` : "";
  }
  const [mine, theirs] = [big(one.zxid), big(other.zxid)];
  if (mine !== theirs) return mine > theirs ? `${history(mine)} is after ${zxidText(theirs)}` : "";
  return one.leader > other.leader ? `the histories are equal and ${one.leader} is the higher id` : "";
}

/** What was done with a vote that was heard, and why; `mine` is what its hearer votes for at the time, or null. */
export function verdict(fact, mine) {
  if (fact.outcome !== "counted" || !mine) return fact.outcome;
  if (mine.leader === fact.leader) return "counted, it is for the same peer";
  const better = advantage(fact, mine);
  return better ? `counted, and better: ${better}` : `counted, but no better: ${advantage(mine, fact)}`;
}

/** Why a peer changed its vote from `before` (null: not known). */
export function whyChanged(fact, before) {
  if (fact.because !== "better vote" || !before) return fact.because;
  return `${fact.because}, ${advantage(fact, before) || "by what was heard"}`;
}

function heard(fact, mine) {
  const said = `hears that peer ${fact.sender}, ${fact.state} in round ${fact.round}, is for ${candidate(fact)}`;
  return `${said}; ${verdict(fact, mine)}`;
}

function established(fact) {
  if (fact.role === "leader") return `leads in epoch ${fact.epoch}, and serves`;
  const fed = [-1, undefined, fact.leader].includes(fact.master) ? "" : `, fed by peer ${fact.master}`;
  return `serves as ${fact.role} of peer ${fact.leader} in epoch ${fact.epoch}, at ${history(fact.zxid)}${fed}`;
}

function elected(fact) {
  const who = `peer ${fact.leader} is elected in round ${fact.round} by ${peersText(fact.voters)}`;
  return `a quorum agrees: ${who}, ${fact.duration_ms} ms after this peer began to look`;
}

function synced(fact) {
  const gets = `gets ${fact.mode} to zxid ${zxidText(fact.target_zxid)}, ${count(fact.proposals, "proposal")}`;
  return `peer ${fact.learner} is at ${history(fact.learner_zxid)} and ${gets}`;
}

const members = (fact) =>
  `version ${fact.version}: ${peersText(fact.voters)} vote, ${peersText(fact.observers)} observe`;

const SENTENCES = {
  // Elections
  peer_started: (fact) => `starts, with ${history(fact.last_zxid)} as its last transaction`,
  peer_stopped: () => "has stopped in order",
  data_untrusted: () => "has lost its data, so it does not vote",
  state_changed: (fact) =>
    fact.new === "looking" ? `looks for a leader: ${fact.reason}` : `is ${fact.new}: ${fact.reason}`,
  round_started: (fact) => `round ${fact.round} begins; votes for ${candidate(fact)}`,
  vote_changed: (fact, mine) => `votes for ${candidate(fact)} from now on: ${whyChanged(fact, mine)}`,
  vote_heard: heard,
  elected,
  phase_changed: (fact) => `${fact.phase}, epoch ${fact.epoch}`,
  established,
  read_only_began: () => "has no leader for so long that it lets read-only clients in",
  // Links and learners
  link_up: (fact) => `${fact.kind} link with peer ${fact.peer}`,
  link_down: (fact) => `${fact.kind} link with peer ${fact.peer} ended: ${fact.reason}`,
  link_refused: (fact) => `turned away ${fact.address} at its ${fact.kind} port: ${fact.reason}`,
  frame_dropped: (fact) => `dropped a frame of peer ${fact.peer} (${fact.kind}): ${fact.reason}`,
  port_blocked: (fact) => `cannot bind ${fact.address} for ${fact.kind}, and tries again: ${fact.reason}`,
  learner_syncing: synced,
  learner_synced: (fact) => `peer ${fact.learner} has the history`,
  learner_left: (fact) => `peer ${fact.learner} is gone: ${fact.reason}`,
  learners_listening: (fact) => `observers may join at ${fact.address}`,
  sync_received: (fact) => `has got ${fact.mode} to zxid ${zxidText(fact.zxid)}, ${count(fact.proposals, "proposal")}`,
  // Members
  membership_kept: (fact) => `its file lists other members than version ${fact.version}, which counts`,
  membership_proposed: (fact) => `proposes members, ${members(fact)}`,
  membership_changed: (fact) => `has new members, ${members(fact)}`,
  // Transactions and files
  proposed: (fact) => `proposes zxid ${zxidText(fact.first_zxid)} to ${zxidText(fact.last_zxid)}`,
  committed: (fact) => `has committed up to zxid ${zxidText(fact.zxid)}`,
  database_loaded: (fact) =>
    `has read its data to zxid ${zxidText(fact.last_zxid)}: ${count(fact.nodes, "znode")}, ` +
    `${count(fact.log_txns, "transaction")} from the log, in ${fact.duration_ms} ms`,
  snapshot_taken: (fact) =>
    `has taken a snapshot at zxid ${zxidText(fact.zxid)}: ${count(fact.size_bytes, "byte")} in ${fact.duration_ms} ms`,
  slow_flush: (fact) => `a flush of ${count(fact.size_bytes, "byte")} took ${fact.duration_ms} ms`,
  disk_nearly_full: (fact) => `has only ${count(fact.free_bytes, "byte")} left on its disk`,
  disk_has_room: (fact) => `has ${count(fact.free_bytes, "byte")} left on its disk again`,
  disk_full: (fact) => `waits for room on its disk: ${fact.reason}`,
  voters_lack_room: (fact) =>
    fact.refuses_writes ? `refuses writes: the disks of peers ${fact.peers.join(", ")} are nearly full` : "takes writes again",
  log_truncated: (fact) => `has cut its log back to zxid ${zxidText(fact.zxid)}`,
  digest_mismatch: (fact) => `its tree is not what it should be after zxid ${zxidText(fact.zxid)}`,
  // Clients
  clients_listening: (fact) => `listens for clients at ${fact.address}`,
  session_created: (fact) => `session ${hex(fact.session)} begins, timeout ${fact.timeout_ms} ms`,
  session_expired: (fact) => `session ${hex(fact.session)} was not heard of for ${fact.timeout_ms} ms and expires`,
  session_closed: (fact) => `session ${hex(fact.session)} is closed`,
  local_session_changed: (fact) => `local session ${hex(fact.session)} ${fact.what}`,
  client_refused: (fact) => `client ${fact.address} was turned away: ${fact.reason}`,
  // What the page saw itself, and what a simulation struck
  page_lost: () => "is not heard any more",
  page_paused: (fact) => (fact.paused ? "is paused" : "goes on"),
  page_partition: (fact) =>
    fact.groups.length
      ? `the ensemble is parted: ${fact.groups.map((group) => group.join(", ")).join(" | ")}`
      : "the partition is over",
  struck: (fact) => `${fact.fault}: ${fact.what}`,
};

/**
 * What an event says of its peer, without the peer's name.
 * @param {{event: string}} fact of an event frame; kinds that are not known are told by their fields
 * @param {?Vote} mine what its peer votes for at the time
 * @returns {string}
 */
export function sentence(fact, mine = null) {
  const known = Object.hasOwn(SENTENCES, fact.event) ? SENTENCES[fact.event] : null;
  if (known) return known(fact, mine);
  const { event, ...fields } = fact;
  const told = Object.entries(fields).map(([name, value]) => `${name.replaceAll("_", " ")} ${fieldText(name, value)}`);
  return `${event.replaceAll("_", " ")}${told.length ? `: ${told.join(", ")}` : ""}`;
}

function fieldText(name, value) {
  if (name.endsWith("zxid")) return zxidText(value);
  if (name === "session") return hex(value);
  return Array.isArray(value) ? value.join(", ") || "none" : String(value);
}

const WARNINGS = new Set([
  "link_refused",
  "frame_dropped",
  "port_blocked",
  "membership_kept",
  "data_untrusted",
  "torn_tail_cut",
  "snapshot_skipped",
  "log_truncated",
  "slow_flush",
  "snapshot_failed",
  "disk_nearly_full",
  "disk_full",
  "voters_lack_room",
  "digest_mismatch",
  "log_unusable",
  "quota_exceeded",
  "client_frame_refused",
  "certificates_kept",
  "page_lost",
  "struck",
]);

/** Whether an event of this kind is one that an operator should look at. */
export const isWarning = (kind) => WARNINGS.has(kind);

/** Groups of kinds, by which a log is filtered; a kind that is in none is of the last. */
export const GROUPS = [
  [
    "elections",
    new Set([
      "peer_started",
      "peer_stopped",
      "state_changed",
      "phase_changed",
      "round_started",
      "vote_changed",
      "elected",
      "established",
      "read_only_began",
      "data_untrusted",
      "page_lost",
      "page_paused",
      "page_partition",
      "struck",
      "membership_proposed",
      "membership_changed",
      "membership_kept",
    ]),
  ],
  ["votes heard", new Set(["vote_heard"])],
  [
    "links and learners",
    new Set([
      "link_up",
      "link_down",
      "link_refused",
      "frame_dropped",
      "port_blocked",
      "learner_syncing",
      "learner_synced",
      "learner_left",
      "learners_listening",
      "sync_received",
    ]),
  ],
  ["transactions", new Set(["proposed", "committed"])],
  [
    "clients",
    new Set([
      "session_created",
      "session_expired",
      "session_closed",
      "local_session_changed",
      "client_refused",
      "client_frame_refused",
      "clients_listening",
      "quota_exceeded",
    ]),
  ],
  ["data and the rest", null],
];

/** Which of `GROUPS` an event kind is of, by index. */
export function groupOf(kind) {
  const at = GROUPS.findIndex(([, kinds]) => kinds?.has(kind));
  return at < 0 ? GROUPS.length - 1 : at;
}
