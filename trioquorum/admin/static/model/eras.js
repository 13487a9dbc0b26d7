// Who led when, and what befell the ensemble, for the bar of the history. Pure.

const ENDS = new Set(["state_changed", "peer_started", "peer_stopped", "page_lost"]);
const BLOWS = new Set(["page_lost", "page_paused", "page_partition", "struck", "peer_stopped"]);

/** Whether an event frame matters to `erasOf` or `blowsOf`. */
export const isMilestone = ({ fact }) => fact.event === "established" || ENDS.has(fact.event) || BLOWS.has(fact.event);

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
  return frames.filter(({ fact }) => BLOWS.has(fact.event)).map(({ wall_ms }) => wall_ms);
}
