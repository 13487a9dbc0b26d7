// Who led when, and what befell the ensemble, for the bar of the history. Pure.

const ENDS = new Set(["state_changed", "peer_started", "peer_stopped", "page_lost"]);
const BLOWS = new Set(["page_lost", "page_paused", "page_partition", "peer_stopped"]);
const FAULTS = new Set(["partition", "cut", "one_way", "pause"]); // of a simulation; a crash is a peer that is lost
const OVER = "is over";

const isBlow = ({ fact }) => BLOWS.has(fact.event) || (fact.event === "struck" && FAULTS.has(fact.fault) && fact.what !== OVER);

/** Whether an event frame matters to `erasOf` or `blowsOf`. */
export const isMilestone = (frame) => frame.fact.event === "established" || ENDS.has(frame.fact.event) || isBlow(frame);

/**
 * The times in which somebody led and served, by their beginning.
 * @param {{peer: number, wall_ms: number, fact: object}[]} frames by time
 * @returns {{leader: number, epoch: number, from_ms: number, to_ms: number}[]} `to_ms` is Infinity while it lasts
 */
export function erasOf(frames) {
  const eras = [];
  const open = new Map();
  for (const { peer, wall_ms, fact } of frames) {
    const leads = fact.event === "established" && fact.leader === peer;
    if ((leads || ENDS.has(fact.event)) && open.has(peer)) {
      open.get(peer).to_ms = wall_ms;
      open.delete(peer);
    }
    if (!leads) continue;
    const era = { leader: peer, epoch: fact.epoch, from_ms: wall_ms, to_ms: Infinity };
    open.set(peer, era);
    eras.push(era);
  }
  return eras;
}

/** When something befell the ensemble from outside: the times of it, by time. */
export function blowsOf(frames) {
  return frames.filter(isBlow).map(({ wall_ms }) => wall_ms);
}
