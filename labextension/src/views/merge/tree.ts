/**
 * Names of tensors as a tree of modules, and the lines a table shows of it.
 *
 * The modules are those that a model is made of: the numbered blocks, what holds the blocks, and else the first word of
 * a name. A module is a prefix, and all that begin with it are in it, so that a rule for `prefix*` is for just what is
 * shown in it.
 */
import type { Row } from '../../api/merge';
import { literal } from '../globs';

/** The block of a name, and its kind, as `theta_jupyter/diffs/grid.py` has them; and what holds the block. */
const NUMBERED = /^(?<block>(?<stem>(?:.*?[./])??(?:[^./]*[._])?)\d+[./])(?<kind>.+)$/su;
const FIRST = /^[^./]*[./]/u;
/** The structure of the file, which stands among the tensors. */
export const STRUCTURE = '(structure)';
/** Of more rows than this, modules are folded to begin with. */
const MANY = 200;

export interface Branch {
  prefix: string;
  glob: string;
  /** Names, of it and of its modules, in order. */
  names: string[];
  /** What stands in it, in order. */
  twigs: (Branch | string)[];
}

export interface GroupLine {
  type: 'group';
  branch: Branch;
  depth: number;
  /** All its conflicts, and how many of these are shown. */
  rows: Row[];
  shown: number;
  isFolded: boolean;
}

export interface RowLine {
  type: 'row';
  row: Row;
  depth: number;
  /** What its module does not say already. */
  label: string;
}

export type Line = GroupLine | RowLine;

const { compare } = new Intl.Collator('en', { numeric: true });
const byName = (a: string, b: string): number => compare(a, b) || (a < b ? -1 : Number(a > b));

/** The modules of names. */
export function treeOf(names: readonly string[]): Branch {
  const known = new Set(names.flatMap(modulesOf));
  const chains = new Map(names.map(name => [name, prefixesOf(name).filter(prefix => known.has(prefix))]));
  const counts = new Map<string, number>();
  for (const prefix of [...chains.values()].flat()) {
    counts.set(prefix, (counts.get(prefix) ?? 0) + 1);
  }
  const count = (prefix: string | undefined): number => counts.get(prefix ?? '') ?? 0;
  const root: Branch = { prefix: '', glob: '*', names: [], twigs: [] };
  const branches = new Map<string, Branch>();
  for (const name of [...names].sort(byName)) {
    // One tensor makes no module, and of two modules that hold the same only the inner one is shown.
    const chain = (chains.get(name) ?? []).filter(
      (prefix, index, all) => count(prefix) > 1 && count(prefix) !== count(all[index + 1])
    );
    let parent = root;
    parent.names.push(name);
    for (const prefix of chain) {
      const branch = branches.get(prefix) ?? { prefix, glob: `${literal(prefix)}*`, names: [], twigs: [] };
      if (!branches.has(prefix)) {
        branches.set(prefix, branch);
        parent.twigs.push(branch);
      }
      branch.names.push(name);
      parent = branch;
    }
    parent.twigs.push(name);
  }
  return root;
}

function modulesOf(name: string): string[] {
  const { stem = '', block = '' } = NUMBERED.exec(name)?.groups ?? {};
  return block ? [stem, block].filter(Boolean) : (FIRST.exec(name) ?? []);
}

/** All that end at a separator, short ones first. */
function prefixesOf(name: string): string[] {
  return [...name.matchAll(/[._/]/gu)].map(({ index }) => name.slice(0, index + 1));
}

/** Every module in a tree. */
export function branchesOf(branch: Branch): Branch[] {
  return branch.twigs.flatMap(twig => (typeof twig === 'string' ? [] : [twig, ...branchesOf(twig)]));
}

/** The modules that are folded to begin with: overview first. */
export function foldedAtFirst(tree: Branch): Set<string> {
  const innermost = branchesOf(tree).filter(({ twigs }) => twigs.every(twig => typeof twig === 'string'));
  return new Set(tree.names.length > MANY ? innermost.map(({ prefix }) => prefix) : []);
}

/** The modules a tensor is in, the innermost last. */
export function pathTo(tree: Branch, name: string): Branch[] {
  const inner = tree.twigs.find((twig): twig is Branch => typeof twig !== 'string' && name.startsWith(twig.prefix));
  return inner ? [inner, ...pathTo(inner, name)] : [];
}

/** The lines of a tree, of the rows that are lit. */
export function linesOf(
  branch: Branch,
  rows: ReadonlyMap<string, Row>,
  isLit: (row: Row) => boolean,
  folded: ReadonlySet<string>,
  depth = 0
): Line[] {
  return branch.twigs.flatMap((twig): Line[] => {
    if (typeof twig === 'string') {
      const row = rows.get(twig);
      return row && isLit(row) ? [{ type: 'row', row, depth, label: twig.slice(branch.prefix.length) }] : [];
    }
    const members = twig.names.flatMap(name => rows.get(name) ?? []);
    const shown = members.filter(isLit).length;
    if (!shown) {
      return [];
    }
    const isFolded = folded.has(twig.prefix);
    const conflicts = members.filter(isConflict);
    const line: GroupLine = { type: 'group', branch: twig, depth, rows: conflicts, shown, isFolded };
    return [line, ...(isFolded ? [] : linesOf(twig, rows, isLit, folded, depth + 1))];
  });
}

/** Tensors of the same kind in every block; of one that is in no block, just itself. */
export function kindGlob({ name, glob }: Row): string {
  const { stem = '', kind = '', block = '' } = NUMBERED.exec(name)?.groups ?? {};
  return block ? `${literal(stem)}*${literal(block.slice(-1) + kind)}` : glob;
}

const SETTLED = new Set(['unchanged', 'ours only', 'theirs only', 'same on both']);

export function isConflict(row: Row): boolean {
  return !SETTLED.has(row.class);
}
