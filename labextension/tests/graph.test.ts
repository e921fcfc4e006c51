import { describe, expect, it } from 'vitest';

import { breadth, lanesOf, type Knot } from '../src/views/panel/graph';

/** `a: b c` is a commit and its parents. */
function knots(...lines: string[]): Knot[] {
  return lines.map(line => {
    const [id = '', parents = ''] = line.split(':');
    return { id, parents: parents.split(' ').filter(Boolean) };
  });
}

/** Follow every line down, from the commit where it begins to the one where it ends. */
function check(commits: readonly Knot[]): void {
  const rows = lanesOf(commits);
  expect(rows).toHaveLength(commits.length);
  const known = new Set(commits.map(({ id }) => id));
  rows.forEach((row, index) => {
    // What leaves a row at its bottom comes into the next one at its top.
    const above = rows[index - 1];
    expect(sorted([...row.through, ...row.into])).toEqual(sorted(above ? [...above.through, ...above.out] : []));
    // No line passes through the commit itself.
    expect(row.through).not.toContain(row.lane);
    const reached = row.out.map(lane => {
      for (let below = index + 1; below < rows.length; below++) {
        if (rows[below]?.into.includes(lane)) {
          return commits[below]?.id;
        }
        expect(rows[below]?.through).toContain(lane);
      }
      return undefined;
    });
    const parents = commits[index]?.parents.filter(id => known.has(id)) ?? [];
    expect(sorted(reached.filter(id => id !== undefined))).toEqual(sorted(parents));
  });
}

function sorted<Item extends string | number>(items: readonly Item[]): Item[] {
  return [...new Set(items)].sort();
}

describe('the lanes of a commit graph', () => {
  it('has one for a line of commits', () => {
    const commits = knots('c:b', 'b:a', 'a:');
    check(commits);
    expect(lanesOf(commits).map(({ lane }) => lane)).toEqual([0, 0, 0]);
    expect(breadth(lanesOf(commits), 8)).toBe(1);
  });

  it('has two between a fork and a merge, and one after it', () => {
    const commits = knots('m:x y', 'x:a', 'y:a', 'a:z', 'z:');
    check(commits);
    expect(lanesOf(commits)).toEqual([
      { lane: 0, through: [], into: [], out: [0, 1] },
      { lane: 0, through: [1], into: [0], out: [0] },
      { lane: 1, through: [0], into: [1], out: [0] },
      { lane: 0, through: [], into: [0], out: [0] },
      { lane: 0, through: [], into: [0], out: [] }
    ]);
  });

  it('keeps branches that never met apart', () => {
    const commits = knots('a2:a1', 'b2:b1', 'a1:', 'b1:');
    check(commits);
    expect(lanesOf(commits).map(({ lane }) => lane)).toEqual([0, 1, 0, 1]);
  });

  it('gives a lane that has ended to the next branch', () => {
    const commits = knots('a:', 'b:');
    check(commits);
    expect(lanesOf(commits).map(({ lane }) => lane)).toEqual([0, 0]);
  });

  it('draws an octopus', () => {
    const commits = knots('m:p q r', 'r:a', 'q:a', 'p:a', 'a:');
    check(commits);
    expect(lanesOf(commits)[0]?.out).toEqual([0, 1, 2]);
    expect(lanesOf(commits).at(-1)).toEqual({ lane: 2, through: [], into: [2], out: [] });
  });

  it('crosses lines where two branches merged each other', () => {
    const commits = knots('m1:a b', 'm2:b a', 'a:z', 'b:z', 'z:');
    check(commits);
    expect(lanesOf(commits)).toEqual([
      { lane: 0, through: [], into: [], out: [0, 1] },
      // Its parents are expected already: their lines are joined, and none is begun.
      { lane: 2, through: [0, 1], into: [], out: [1, 0] },
      { lane: 0, through: [1], into: [0], out: [0] },
      { lane: 1, through: [0], into: [1], out: [0] },
      { lane: 0, through: [], into: [0], out: [] }
    ]);
  });

  it('goes on below for parents that are not loaded yet', () => {
    const commits = knots('b:a x', 'a:y');
    check(commits);
    expect(lanesOf(commits).at(-1)).toEqual({ lane: 0, through: [1], into: [0], out: [0] });
  });

  it('bears a parent that is named twice', () => {
    const commits = knots('m:a a', 'a:');
    check(commits);
    expect(lanesOf(commits)[0]?.out).toEqual([0]);
  });

  it('leaves room for every line of the last row', () => {
    // Lanes 0 and 1 are taken by p and q; the last commit stands in 2 and needs 3 for its second parent.
    const rows = lanesOf(knots('x:p', 'y:q', 'z:r s q'));
    expect(rows.at(-1)?.out).toContain(3);
    expect(breadth(rows, 8)).toBe(4);
    expect(breadth(rows, 3)).toBe(3);
  });

  it('brings every line to its parent, whatever the history', () => {
    let seed = 1;
    const random = (below: number): number => {
      seed = (seed * 48271) % 2147483647;
      return seed % below;
    };
    for (let round = 0; round < 60; round++) {
      const count = 2 + random(40);
      check(
        Array.from({ length: count }, (_, index) => {
          const left = count - index - 1;
          const parents = Array.from({ length: random(4) }, () => index + 1 + random(Math.min(left, 8) || 1));
          return { id: `${index}`, parents: [...new Set(parents)].filter(at => at < count).map(String) };
        })
      );
    }
  });

  it('does not grow wide over a long history of branches that are merged', () => {
    const lines: string[] = [];
    for (let at = 0; at < 10_000; at += 4) {
      lines.push(`${at}:${at + 1} ${at + 2}`, `${at + 1}:${at + 3}`, `${at + 2}:${at + 3}`, `${at + 3}:${at + 4}`);
    }
    const commits = knots(...lines);
    check(commits);
    expect(breadth(lanesOf(commits), 100)).toBe(2);
  });
});
