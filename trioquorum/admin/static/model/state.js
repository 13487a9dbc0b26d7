// What is known of a peer at a time: folded from what it told, pure.

/** A zxid or session of a frame as BigInt. */
export const big = (value) => BigInt(value ?? -1);

/** `epoch:counter`, as people read a zxid. */
export function zxidText(value) {
  const zxid = big(value);
  return zxid < 0n ? "none" : `${zxid >> 32n}:${zxid & 0xffffffffn}`;
}

/** In hexadecimal, as ZooKeeper's tools write it. */
export const zxidHex = (value) => (big(value) < 0n ? "-1" : `0x${big(value).toString(16)}`);

/**
 * A peer of which nothing is known. `zxid_ms` is when its zxid was told; `groups` are the sides of a partition, which
 * only peer 0 (who strikes, or the page itself) tells.
 */
export function blank(id) {
  return {
    id, alive: false, paused: false, role: "unknown", phase: "", serving: false, reason: "", since_ms: 0,
    leader: -1, epoch: 0, zxid: -1n, zxid_ms: 0, round: 0, vote: null,
    election: new Set(), quorum: new Set(), learners: new Map(), sessions: 0, watches: 0, znodes: 0, groups: [],
  };
}

/** The same state, which can be folded on without this one. */
export function copied(state) {
  const { election, quorum, learners } = state;
  return { ...state, election: new Set(election), quorum: new Set(quorum), learners: new Map(learners) };
}

const linksOf = (state, kind) => (kind === "quorum" ? state.quorum : state.election);

function reached(state, zxid, wall_ms) {
  state.zxid = big(zxid);
  state.zxid_ms = wall_ms;
}

const FOLDS = new Map(Object.entries({
  peer_started(state, fact, wall_ms) {
    Object.assign(state, blank(state.id), { alive: true, role: "starting", epoch: fact.current_epoch, since_ms: wall_ms });
    reached(state, fact.last_zxid, wall_ms);
  },
  peer_stopped(state, fact, wall_ms) {
    Object.assign(state, blank(state.id), { role: "stopped", since_ms: wall_ms });
  },
  page_lost(state, fact, wall_ms) {
    Object.assign(state, blank(state.id), { role: "unreachable", since_ms: wall_ms });
  },
  page_paused(state, fact) {
    state.paused = fact.paused;
  },
  page_partition(state, fact) {
    state.groups = fact.groups;
  },
  struck(state, fact) {
    if (fact.fault === "partition") state.groups = sides(fact.what);
    else if (fact.fault === "calm") state.groups = [];
  },
  state_changed(state, fact, wall_ms) {
    state.role = fact.new;
    state.reason = fact.reason;
    state.since_ms = wall_ms;
    state.serving = false;
    state.phase = fact.new === "looking" ? "election" : "";
    if (fact.new === "looking") state.leader = -1;
    state.quorum.clear();
    state.learners.clear();
  },
  phase_changed(state, fact) {
    state.phase = fact.phase;
    state.epoch = fact.epoch;
  },
  round_started(state, fact) {
    state.round = fact.round;
    state.vote = fact.leader;
  },
  vote_changed(state, fact) {
    state.round = fact.round;
    state.vote = fact.leader;
  },
  elected(state, fact) {
    state.leader = fact.leader;
    state.round = fact.round;
  },
  established(state, fact, wall_ms) {
    state.serving = true;
    state.leader = fact.leader;
    state.epoch = fact.epoch;
    if (big(fact.zxid) > state.zxid) reached(state, fact.zxid, wall_ms);
  },
  link_up(state, fact) {
    linksOf(state, fact.kind).add(fact.peer);
  },
  link_down(state, fact) {
    linksOf(state, fact.kind).delete(fact.peer);
  },
  learner_syncing(state, fact) {
    state.learners.set(fact.learner, { mode: fact.mode, synced: false });
  },
  learner_synced(state, fact) {
    state.learners.set(fact.learner, { mode: state.learners.get(fact.learner)?.mode ?? "", synced: true });
  },
  learner_left(state, fact) {
    state.learners.delete(fact.learner);
  },
  log_truncated(state, fact, wall_ms) {
    reached(state, fact.zxid, wall_ms);
  },
  committed(state, fact, wall_ms) {
    reached(state, fact.zxid, wall_ms);
  },
}));

/** Fold one frame (event, snapshot or sample) of the peer into its state. */
export function fold(state, frame) {
  if (frame.frame === "snapshot") return adopt(state, frame);
  if (frame.frame === "sample") return measure(state, frame);
  const fact = frame.fact;
  if (!fact.event.startsWith("page_") && state.role !== "stopped") state.alive = true;
  FOLDS.get(fact.event)?.(state, fact, frame.wall_ms);
}

function adopt(state, snapshot) {
  const { role, phase, serving, reason, leader, epoch, round, sessions, watches, znodes } = snapshot;
  Object.assign(state, blank(state.id), { alive: true, role, phase, serving, reason, leader, epoch, round, sessions, watches, znodes });
  state.since_ms = snapshot.since_wall_ms;
  reached(state, snapshot.zxid, snapshot.wall_ms);
  state.vote = snapshot.vote?.leader ?? null;
  for (const link of snapshot.links) linksOf(state, link.kind).add(link.peer);
  for (const { id, mode, synced } of snapshot.learners) state.learners.set(id, { mode, synced });
}

/** What a sample says of the peer. */
export function measure(state, sample) {
  reached(state, sample.zxid, sample.wall_ms);
  const { sessions, watches, znodes } = sample;
  Object.assign(state, { sessions, watches, znodes });
}

/** The sides of a partition as a simulation writes them, `1 2 | 3`; none once it is over, which heals every pair. */
function sides(what) {
  if (!/^[\d |]+$/.test(what)) return [];
  return what.split("|").map((side) => side.trim().split(/ +/).map(Number)).filter((side) => side[0]);
}

/** The peers that a fault of a simulation ends without a word of theirs; `ids` are all. */
export function struckDown({ fault, what }, ids) {
  if (fault === "crash_all") return ids;
  const found = ["crash", "crash_at", "stopped"].includes(fault) ? /^peer (\d+)/.exec(what) : null;
  return found ? [Number(found[1])] : [];
}
