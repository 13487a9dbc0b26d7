// Which events belong to one election. Pure.

const TOGETHER_MS = 2000; // peers that begin to look within this time of each other hold one election

const TOLD = new Set([
  "peer_started", "peer_stopped", "page_lost", "page_paused", "page_partition", "struck", "data_untrusted", "state_changed", "round_started",
  "vote_changed", "vote_heard", "elected", "phase_changed", "established", "link_up", "link_down", "learner_syncing", "learner_synced", "sync_received",
]);

/**
 * Every election in event frames (by time), the oldest first: `{began_ms, frames, over, peers, leader, round, epoch, voters, took_ms}`,
 * from when the first peer began to look until the last one served again, or until now.
 */
export function electionsOf(frames) {
  const found = [];
  let current = [];
  const looking = new Set();
  let last_ms = -Infinity;
  for (const frame of frames) {
    const { fact, peer, wall_ms } = frame;
    if (!TOLD.has(fact.event)) continue;
    const begins = fact.event === "state_changed" && fact.new === "looking";
    if (begins && !looking.size && wall_ms - last_ms > TOGETHER_MS) {
      if (current.length) found.push(described(current, true));
      current = [];
    }
    if (begins) looking.add(peer);
    if (current.length || begins) current.push(frame);
    if (fact.event === "established" && looking.delete(peer)) last_ms = wall_ms;
    if (["peer_started", "peer_stopped", "page_lost"].includes(fact.event)) looking.delete(peer);
  }
  if (current.length) found.push(described(current, !looking.size));
  return found;
}

function described(frames, over) {
  const ends = frames.findLastIndex(({ fact }) => fact.event === "established" || fact.event === "learner_synced");
  const kept = over && ends >= 0 ? frames.slice(0, ends + 1) : frames;
  const began_ms = kept[0].wall_ms;
  const looked = [...new Set(kept.filter(({ fact }) => fact.event === "round_started").map(({ peer }) => peer))].sort((a, b) => a - b);
  const elected = kept.filter(({ fact }) => fact.event === "elected");
  const won = elected.at(-1)?.fact;
  const leader = elected.find(({ peer, fact }) => won && peer === won.leader && fact.leader === peer) ?? elected.at(-1);
  const serving = kept.find(({ fact }) => fact.event === "established" && won && fact.epoch > 0);
  return {
    began_ms, frames: kept, over, peers: looked, leader: won?.leader ?? null, round: won?.round ?? null,
    voters: leader ? [...leader.fact.voters] : [], elected_ms: leader ? leader.wall_ms - began_ms : null,
    epoch: serving?.fact.epoch ?? null, took_ms: serving ? serving.wall_ms - began_ms : null,
  };
}

/** An election in one sentence. */
export function summaryOf(election) {
  const names = (ids) => (ids.length === 1 ? `Peer ${ids[0]}` : `Peers ${ids.join(", ")}`);
  const looked = `${election.peers.length ? names(election.peers) : "Peers"} looked for a leader`;
  if (election.leader === null) return `${looked}; no quorum has agreed yet.`;
  const won = `${looked}; peer ${election.leader} was elected in round ${election.round} by ${names(election.voters).toLowerCase()} after ${election.elected_ms} ms`;
  const served = election.epoch === null ? "" : `; epoch ${election.epoch} began after ${election.took_ms} ms`;
  return `${won}${served}${election.over ? "." : "; not all of them serve yet."}`;
}
