// A tidy tree in O(n): parents centred over their children, subtrees packed without overlap.
//
// Each subtree keeps its outline, level by level: `top` and `bottom` list the outermost rows with
// the deepest level first, so that a level put above is a push. Joining two subtrees touches only
// the levels that both have (Reingold and Tilford, "Tidier drawings of trees", 1981).

const SIBLING_GAP = 1;
const FAMILY_GAP = 1.5;

/**
 * Row of each node, the root at 0.
 * @param {number[]} order Nodes, parents before children.
 * @param {number[][]} children Shown children of each node.
 * @param {number} count How many nodes there are at all.
 */
function tidyRows(order, children, count) {
  const offset = new Float64Array(count);
  const outlines = new Array(count);
  for (let at = order.length - 1; at >= 0; at--) {
    const node = order[at];
    const own = children[node];
    const outline = own.length ? joined(own, outlines, offset) : { top: [], bottom: [], shift: 0 };
    outline.top.push(-outline.shift);
    outline.bottom.push(-outline.shift);
    outlines[node] = outline;
    for (const child of own) outlines[child] = undefined;
  }
  const row = new Float64Array(count);
  for (const node of order) for (const child of children[node]) row[child] = row[node] + offset[child];
  return row;
}

/** Places siblings below each other, the parent's row at 0; returns their common outline. */
function joined(siblings, outlines, offset) {
  let forest = outlines[siblings[0]];
  let leafBefore = forest.top.length === 1;
  offset[siblings[0]] = 0;
  for (const sibling of siblings.slice(1)) {
    const next = outlines[sibling];
    const leaf = next.top.length === 1;
    const gap = leaf && leafBefore ? SIBLING_GAP : FAMILY_GAP;
    offset[sibling] = clearance(forest, next, gap);
    next.shift += offset[sibling];
    forest = union(forest, next);
    leafBefore = leaf;
  }
  const middle = offset[siblings.at(-1)] / 2;
  for (const sibling of siblings) offset[sibling] -= middle;
  forest.shift -= middle;
  return forest;
}

function clearance(above, below, gap) {
  let needed = -Infinity;
  const levels = Math.min(above.bottom.length, below.top.length);
  for (let level = 1; level <= levels; level++) {
    const reach = above.bottom.at(-level) + above.shift - below.top.at(-level) - below.shift;
    needed = Math.max(needed, reach + (level === 1 ? gap : FAMILY_GAP));
  }
  return needed;
}

function union(above, below) {
  const [deeper, other, side] = below.top.length > above.top.length
    ? [below, above, "top"] : [above, below, "bottom"];
  const edge = deeper[side];
  const levels = Math.min(above.top.length, below.top.length);
  for (let level = 1; level <= levels; level++) {
    edge[edge.length - level] = other[side].at(-level) + other.shift - deeper.shift;
  }
  return deeper;
}
