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

/** A peer of which nothing is known. */
export function blank(id) {
  return {
    id, alive: false, paused: false, role: "unknown", phase: "", serving: false, reason: "", since_ms: 0,
    leader: -1, epoch: 0, zxid: -1n, round: 0, vote: null,
    election: new Set(), quorum: new Set(), learners: new Map(), sessions: 0, watches: 0, znodes: 0,
  };
}

const FOLDS = {
  peer_started(state, fact) {
    Object.assign(state, blank(state.id), { alive: true, zxid: big(fact.last_zxid), epoch: fact.current_epoch });
  },
  peer_stopped(state) {
    Object.assign(state, blank(state.id), { role: "stopped" });
  },
  page_lost(state) {
    Object.assign(state, blank(state.id), { role: "unreachable" });
  },
  page_paused(state, fact) {
    state.paused = fact.paused;
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
  established(state, fact) {
    state.serving = true;
    state.leader = fact.leader;
    state.epoch = fact.epoch;
    if (big(fact.zxid) > state.zxid) state.zxid = big(fact.zxid);
  },
  link_up(state, fact) {
    state[fact.kind === "quorum" ? "quorum" : "election"].add(fact.peer);
  },
  link_down(state, fact) {
    state[fact.kind === "quorum" ? "quorum" : "election"].delete(fact.peer);
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
  committed(state, fact) {
    state.zxid = big(fact.zxid);
  },
};

/** Fold one frame (event, snapshot or sample) of the peer into its state. */
export function fold(state, frame) {
  if (frame.frame === "snapshot") return adopt(state, frame);
  if (frame.frame === "sample") return measure(state, frame);
  const fact = frame.fact;
  if (!fact.event.startsWith("page_")) state.alive = true;
  FOLDS[fact.event]?.(state, fact, frame.wall_ms);
}

function adopt(state, snapshot) {
  const { role, phase, serving, reason, leader, epoch, round, sessions, watches, znodes } = snapshot;
  Object.assign(state, blank(state.id), { alive: true, role, phase, serving, reason, leader, epoch, round, sessions, watches, znodes });
  state.since_ms = snapshot.since_wall_ms;
  state.zxid = big(snapshot.zxid);
  state.vote = snapshot.vote?.leader ?? null;
  for (const link of snapshot.links) state[link.kind === "quorum" ? "quorum" : "election"].add(link.peer);
  for (const { id, mode, synced } of snapshot.learners) state.learners.set(id, { mode, synced });
}

function measure(state, sample) {
  state.zxid = big(sample.zxid);
  const { sessions, watches, znodes } = sample;
  Object.assign(state, { sessions, watches, znodes });
}
