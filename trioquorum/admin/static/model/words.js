// Events in words, as `trioquorum explain` says them. Pure.
import { big, zxidText } from "./state.js";

const peers = (ids) => (ids.length === 1 ? `peer ${ids[0]}` : `peers ${[...ids].join(", ")}`);
const candidate = (vote) => (vote.leader < 0 ? "nobody, it only looks on" : `peer ${vote.leader} (epoch ${vote.peer_epoch}, zxid ${zxidText(vote.zxid)})`);

/** Why one vote is better than another: by epoch, then history, then id; empty if it is not. */
export function advantage(one, other) {
  if (one.peer_epoch !== other.peer_epoch) return one.peer_epoch > other.peer_epoch ? `epoch ${one.peer_epoch} is after ${other.peer_epoch}` : "";
  const [mine, theirs] = [big(one.zxid), big(other.zxid)];
  if (mine !== theirs) return mine > theirs ? `zxid ${zxidText(mine)} is after ${zxidText(theirs)}` : "";
  return one.leader > other.leader ? `the histories are equal and ${one.leader} is the higher id` : "";
}

function heard(fact, mine) {
  const said = `hears that peer ${fact.sender}, ${fact.state} in round ${fact.round}, is for ${candidate(fact)}; ${fact.outcome}`;
  if (fact.outcome !== "counted" || !mine) return said;
  if (mine.leader === fact.leader) return `${said}: it is for the same peer`;
  const better = advantage(fact, mine);
  return better ? `${said}, and better: ${better}` : `${said}, but no better: ${advantage(mine, fact)}`;
}

function changed(fact, before) {
  const why = fact.because === "better vote" && before ? `${fact.because}, ${advantage(fact, before) || "by what was heard"}` : fact.because;
  return `votes for ${candidate(fact)} from now on: ${why}`;
}

const SENTENCES = {
  peer_started: (fact) => `starts, with zxid ${zxidText(fact.last_zxid)} as its last transaction`,
  peer_stopped: () => "has stopped in order",
  page_lost: () => "is not heard any more",
  page_paused: (fact) => (fact.paused ? "is paused" : "goes on"),
  page_partition: (fact) => (fact.groups.length ? `the ensemble is parted: ${fact.groups.map((group) => group.join(", ")).join(" | ")}` : "the partition is over"),
  data_untrusted: () => "has lost its data, so it does not vote",
  state_changed: (fact) => (fact.new === "looking" ? `looks for a leader: ${fact.reason}` : `is ${fact.new}: ${fact.reason}`),
  round_started: (fact) => `round ${fact.round} begins; votes for ${candidate(fact)}`,
  vote_changed: changed,
  vote_heard: heard,
  elected: (fact) => `a quorum agrees: peer ${fact.leader} is elected in round ${fact.round} by ${peers(fact.voters)}, ${fact.duration_ms} ms after this peer began to look`,
  phase_changed: (fact) => `${fact.phase}, epoch ${fact.epoch}`,
  established: (fact) => (fact.role === "leader" ? `leads in epoch ${fact.epoch}, and serves` : `serves as ${fact.role} of peer ${fact.leader} in epoch ${fact.epoch}, at zxid ${zxidText(fact.zxid)}`),
  link_up: (fact) => `${fact.kind} link with peer ${fact.peer}`,
  link_down: (fact) => `${fact.kind} link with peer ${fact.peer} ended: ${fact.reason}`,
  learner_syncing: (fact) => `peer ${fact.learner} is at zxid ${zxidText(fact.learner_zxid)} and gets ${fact.mode} to ${zxidText(fact.target_zxid)}, ${fact.proposals} proposals`,
  learner_synced: (fact) => `peer ${fact.learner} has the history`,
  learner_left: (fact) => `peer ${fact.learner} is gone: ${fact.reason}`,
  sync_received: (fact) => `has got ${fact.mode} to zxid ${zxidText(fact.zxid)}, ${fact.proposals} proposals`,
  proposed: (fact) => `proposes up to zxid ${zxidText(fact.last_zxid)}`,
  committed: (fact) => `has committed up to zxid ${zxidText(fact.zxid)}`,
  struck: (fact) => `${fact.fault}: ${fact.what}`,
};

/** What an event says; `mine` is the vote of its peer at the time (a round_started or vote_changed fact) or null. */
export function sentence(fact, mine = null) {
  const known = SENTENCES[fact.event];
  if (known) return known(fact, mine);
  const { event, ...fields } = fact;
  const told = Object.entries(fields).map(([name, value]) => `${name} ${name.includes("zxid") ? zxidText(value) : value}`);
  return `${event.replaceAll("_", " ")}${told.length ? `: ${told.join(", ")}` : ""}`;
}
