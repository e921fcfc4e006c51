/**
 * The lanes of a commit graph: where each commit stands, and which lines pass it.
 *
 * Commits come with children before their parents. A lane belongs to the commit that is expected in it, and no lane ever
 * moves sideways, so a row can be drawn without looking at any other: lanes that pass straight through, lanes from above
 * that end in the commit, and lanes that begin in it and go on below.
 */

/** What there is to know of a commit. */
export interface Knot {
  id: string;
  parents: readonly string[];
}

/** A commit, and the lines beside it. Lanes are numbers, counted from the left. */
export interface Lanes {
  lane: number;
  through: readonly number[];
  into: readonly number[];
  out: readonly number[];
}

/** A row for each commit. */
export function lanesOf(commits: readonly Knot[]): Lanes[] {
  /** Which commit is expected in each lane; null in one that is free. */
  const expected: (string | null)[] = [];
  const place = (id: string): number => {
    const known = expected.indexOf(id);
    if (known >= 0) {
      return known;
    }
    const free = expected.indexOf(null);
    const lane = free < 0 ? expected.length : free;
    expected[lane] = id;
    return lane;
  };
  return commits.map(({ id, parents }) => {
    const into = expected.flatMap((wanted, lane) => (wanted === id ? [lane] : []));
    const lane = into[0] ?? place(id);
    into.forEach(other => (expected[other] = null));
    expected[lane] = null;
    const through = expected.flatMap((wanted, other) => (wanted === null ? [] : [other]));
    const out: number[] = [];
    for (const [index, parent] of parents.entries()) {
      // The first parent goes on in this lane, unless somebody waits for it in another one.
      if (index === 0 && !expected.includes(parent)) {
        expected[lane] = parent;
        out.push(lane);
      } else {
        const other = place(parent);
        out.push(other);
      }
    }
    while (expected.at(-1) === null) {
      expected.pop();
    }
    return { lane, through, into, out: [...new Set(out)] };
  });
}

/** How many lanes a graph needs, at most. */
export function breadth(rows: readonly Lanes[], most: number): number {
  let wide = 1;
  for (const { lane, through, into, out } of rows) {
    wide = Math.max(wide, ...[lane, ...through, ...into, ...out].map(other => other + 1));
  }
  return Math.min(wide, most);
}
