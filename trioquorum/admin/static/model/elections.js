// Elections out of events: what belongs to one, its rounds, and its steps with the vote of each peer at the time. Pure.
import { peersText, sentence } from "./words.js";

const TOGETHER_MS = 2000; // who begins to look so soon after the others served holds the same election, unless it did

const TOLD = new Set([
  "peer_started",
  "peer_stopped",
  "page_lost",
  "page_paused",
  "page_partition",
  "struck",
  "data_untrusted",
  "state_changed",
  "round_started",
  "vote_changed",
  "vote_heard",
  "elected",
  "phase_changed",
  "established",
  "link_up",
  "link_down",
  "learner_syncing",
  "learner_synced",
  "sync_received",
]);
/** Whether an event frame may belong to an election. */
export const isTold = ({ fact }) => TOLD.has(fact.event);

const CAUSES = new Set(["peer_stopped", "page_lost", "page_paused", "page_partition", "struck"]);
const CAUSES_MS = 15000; // what happened so long before an election may be why it began: silence is noticed late
const LIVES = { peer_started: "idle", peer_stopped: "gone", page_lost: "gone", established: "serving" };

const GONE = new Set(["peer_started", "peer_stopped", "page_lost"]);
const EVERYBODY = 0; // in place of a peer's id
const VOTES = new Set(["round_started", "vote_changed"]);

/** @typedef {{peer: number, wall_ms: number, fact: {event: string}}} Frame */
/**
 * @typedef {object} Election from when the first peer began to look until the last one served again, or until now
 * @property {number} began_ms when the first one began to look; what may be why is told from a little earlier
 * @property {Frame[]} frames by time
 * @property {boolean} over all of them serve again, or are gone
 * @property {number[]} peers who looked
 * @property {?number} leader who was elected, null: nobody yet
 * @property {?number} round
 * @property {number[]} voters the quorum, as the leader (or who else told it) counted it
 * @property {?number} elected_ms from the beginning until the leader had its quorum
 * @property {boolean} joined nobody was elected anew: who looked found a leader that led already
 * @property {?number} epoch
 * @property {?number} took_ms from the beginning until the first peer served
 */

/**
 * Every election in event frames, the oldest first.
 * @param {Frame[]} frames by time
 * @returns {Election[]}
 */
export function electionsOf(frames) {
  const found = [];
  let current = [];
  const looking = new Set();
  const served = new Set(); // in the current election
  let last_ms = -Infinity;
  let causes = [];
  for (const frame of frames) {
    const { fact, peer, wall_ms } = frame;
    if (!TOLD.has(fact.event)) continue;
    const begins = fact.event === "state_changed" && fact.new === "looking";
    if (begins && !looking.size && (served.has(peer) || wall_ms - last_ms > TOGETHER_MS)) {
      if (current.length) found.push(described(current, true));
      served.clear();
      current = causes.filter((each) => wall_ms - each.wall_ms <= CAUSES_MS);
      causes = [];
    }
    if (begins) looking.add(peer);
    if (current.length || begins) current.push(frame);
    if (fact.event === "established" && looking.delete(peer)) {
      last_ms = wall_ms;
      served.add(peer);
    }
    if (GONE.has(fact.event)) looking.delete(peer);
    if (CAUSES.has(fact.event) && !looking.size)
      causes = [...causes.filter((each) => wall_ms - each.wall_ms <= CAUSES_MS), frame];
  }
  if (current.length) found.push(described(current, !looking.size));
  return found;
}

/** What came after the last peer that served belongs to no election. */
function described(frames, over) {
  const ends = frames.findLastIndex(({ fact }) => ["established", "learner_synced"].includes(fact.event));
  const kept = over && ends >= 0 ? frames.slice(0, ends + 1) : frames;
  const began_ms = kept.find(({ fact }) => fact.event === "state_changed" && fact.new === "looking").wall_ms;
  const of = (event) => kept.filter(({ fact }) => fact.event === event);
  const elected = of("elected");
  const won = elected.at(-1)?.fact;
  const own = elected.find(({ peer, fact }) => peer === won.leader && fact.leader === peer);
  const told = own ?? elected.at(-1);
  const serving = of("established").find(({ fact }) => won && fact.leader === won.leader);
  return {
    began_ms,
    frames: kept,
    over,
    peers: [...new Set(of("round_started").map(({ peer }) => peer))].sort((a, b) => a - b),
    leader: won?.leader ?? null,
    round: won?.round ?? null,
    voters: told ? [...told.fact.voters] : [],
    elected_ms: told ? told.wall_ms - began_ms : null,
    joined: Boolean(told) && !own,
    epoch: serving?.fact.epoch ?? null,
    took_ms: serving ? serving.wall_ms - began_ms : null,
  };
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

/** An election in one sentence. */
export function summaryOf(election) {
  const { peers, leader, round, voters, elected_ms, epoch, took_ms } = election;
  const looked = `${capital(peers.length ? peersText(peers) : "peers")} looked for a leader`;
  if (leader === null) return `${looked}; no quorum has agreed yet.`;
  const end = election.over ? "." : "; not all of them serve yet.";
  if (election.joined) {
    const served = took_ms === null ? "" : `, and served in epoch ${epoch} after ${took_ms} ms`;
    const found = `found peer ${leader}, which ${peersText(voters)} follow`;
    return `${looked} and ${found}, after ${elected_ms} ms${served}${end}`;
  }
  const won = `peer ${leader} was elected in round ${round} by ${peersText(voters)} after ${elected_ms} ms`;
  return `${looked}; ${won}${took_ms === null ? "" : `; epoch ${epoch} began after ${took_ms} ms`}${end}`;
}

/** A step of an election.
 * @typedef {{frame: Frame, mine: object|null, text: string, times: number, section: number|string, key: string}} Step
 * `mine`: the vote of the frame's peer just before; `times`: how often it was said in the same words before that peer
 * changed its vote; `section`: the round, or "before" or "after" of it. */

/**
 * The steps of an election, by time; what a peer hears again and again while its own vote stays is one step.
 * @param {Election} election
 * @returns {Step[]}
 */
export function stepsOf({ frames }) {
  const steps = [];
  const votes = new Map();
  const sections = new Map();
  let round = "before"; // the newest one
  const said = new Map(); // "peer text" -> step, since the peer's last vote
  const places = new Map(); // "time-peer" -> how many steps
  const seen = new Map(); // peer -> the keys of `said` that are its
  for (const frame of frames) {
    const { peer, fact } = frame;
    if (VOTES.has(fact.event)) {
      round = round === "before" ? fact.round : Math.max(round, fact.round);
      sections.set(peer, fact.round);
    }
    const mine = votes.get(peer) ?? null;
    const text = sentence(fact, mine);
    const words = `${peer} ${text}`;
    const before = fact.event === "vote_heard" ? said.get(words) : undefined;
    if (before) {
      before.times += 1;
      continue;
    }
    const place = `${frame.wall_ms}-${peer}`;
    places.set(place, (places.get(place) ?? 0) + 1);
    const key = `${place}-${places.get(place)}`;
    // What befalls all peers, like a partition, belongs to the round that is on.
    const section = sections.get(peer) ?? (peer === EVERYBODY ? round : "before");
    const step = { frame, mine, text, times: 1, section, key };
    steps.push(step);
    said.set(words, step);
    if (!seen.has(peer)) seen.set(peer, []);
    seen.get(peer).push(words);
    if (VOTES.has(fact.event)) {
      votes.set(peer, fact);
      for (const each of seen.get(peer)) said.delete(each);
      seen.set(peer, []);
    }
    if (fact.event === "elected") sections.set(peer, "after");
  }
  return steps;
}

/** @typedef {{leader: number, zxid: number|bigint, peer_epoch: number, wall_ms: number, because: string}} Cast */
/** @typedef {{peer: number, leader: number, voters: number[], wall_ms: number}} Quorum as `peer` saw it, and when */
/** A round of an election.
 * @typedef {object} Round
 * @property {number} round
 * @property {Map<number, Cast[]>} votes of each peer that took part, its votes in this round, the first one first
 * @property {Quorum[]} quorums
 * @property {Map<string, number>} ignored why votes did not count, and how many of them
 */

/**
 * The rounds of an election, ascending.
 * @param {Step[]} steps
 * @returns {Round[]}
 */
export function roundsOf(steps) {
  const rounds = new Map();
  const round = (number) => {
    if (!rounds.has(number)) rounds.set(number, { round: number, votes: new Map(), quorums: [], ignored: new Map() });
    return rounds.get(number);
  };
  for (const {
    frame: { peer, fact, wall_ms },
    section,
    times,
  } of steps) {
    if (VOTES.has(fact.event)) {
      const { votes } = round(fact.round);
      if (!votes.has(peer)) votes.set(peer, []);
      const { leader, zxid, peer_epoch, because = "" } = fact;
      votes.get(peer).push({ leader, zxid, peer_epoch, wall_ms, because });
    } else if (fact.event === "elected") {
      round(fact.round).quorums.push({ peer, leader: fact.leader, voters: [...fact.voters], wall_ms });
    } else if (fact.event === "vote_heard" && fact.outcome.startsWith("ignored") && typeof section === "number") {
      const { ignored } = round(section);
      const why = fact.outcome.replace("ignored: ", "");
      ignored.set(why, (ignored.get(why) ?? 0) + times);
    }
  }
  return [...rounds.values()].sort((a, b) => a.round - b.round);
}

/**
 * How peers were when the frames of an election begin: as of `lifeAfter`, of those of which it is known.
 * @param {Frame[]} frames all that is known, by time
 * @param {?Election} election
 * @returns {Map<number, string>}
 */
export function lifeBefore(frames, election) {
  const lives = new Map();
  for (const frame of frames) {
    if (frame === election?.frames[0]) break;
    const life = lifeAfter(frame.fact);
    if (life) lives.set(frame.peer, life);
  }
  return lives;
}

/** How a peer is after an event: "looking", "idle" (with a role, or starting), "serving", "gone"; null: as before. */
export function lifeAfter(fact) {
  if (fact.event === "state_changed") return fact.new === "looking" ? "looking" : "idle";
  return LIVES[fact.event] ?? null;
}

/**
 * What a quorum of these members takes, in words.
 * @param {{id: number, role: string, group: ?number}[]} members
 */
export function quorumText(members) {
  const voters = members.filter(({ role }) => role === "participant");
  if (!voters.length) return "";
  if (voters.some(({ group }) => group !== null)) return "the majority of the weight, in a majority of the groups";
  return `${Math.floor(voters.length / 2) + 1} of ${voters.length} votes`;
}
