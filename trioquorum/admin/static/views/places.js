// Where peers stand in the picture, and how large they are: so that text keeps its size on every screen. Pure.

const WIDE = { width: 152, height: 86, padding: 12 };
const SMALL = { width: 98, height: 74, padding: 9 };
const GAP = 14; // between peers
const EDGE = 8;
const SMALL_BELOW = 520;
const FAR_MAX = { x: 260, y: 220 };
const WIDE_MAX = 6; // so many peers have room to be wide

/**
 * Peers on an ellipse in a room of so many pixels, the first one on top.
 * @param {number[]} ids
 * @param {number} width
 * @param {number} height of the room; a small one is made higher when they have no place in it
 * @returns {{height: number, needed: number, box: {width: number, height: number, padding: number}, at: Map<number, {x: number, y: number}>}}
 */
export function placed(ids, width, height) {
  const box = width < SMALL_BELOW || ids.length > WIDE_MAX ? SMALL : WIDE;
  const rows = ids.length < 3 ? ids.length : ids.length / 2 + 2;
  const needed = Math.round((box.height + GAP) * rows) + 2 * EDGE;
  const tall = Math.max(height, needed);
  const far = {
    x: Math.min((width - box.width) / 2 - EDGE, FAR_MAX.x),
    y: Math.min((tall - box.height) / 2 - EDGE, FAR_MAX.y),
  };
  const middle = { x: width / 2, y: tall / 2 };
  if (ids.length === 1) return { height: tall, needed, box, at: new Map([[ids[0], middle]]) };
  const angles = ids.map((_, at) => (2 * Math.PI * at) / ids.length - Math.PI / 2);
  // An uneven number reaches less far down than up.
  const lowest = Math.max(...angles.map(Math.sin));
  const down = (far.y * (1 - lowest)) / 2;
  const at = new Map(ids.map((id, index) => {
    const [cos, sin] = [Math.cos(angles[index]), Math.sin(angles[index])];
    return [id, { x: middle.x + far.x * cos, y: middle.y + far.y * sin + down }];
  }));
  return { height: tall, needed, box, at };
}
