/**
 * Patterns for names: what a filter keeps, and what a rule is for.
 */

/** Whether a name answers a filter: a glob if it looks like one, else a part of the name. */
export function matcher(filter: string): (name: string) => boolean {
  if (!filter) {
    return () => true;
  }
  return isGlob(filter) ? globTest(filter) : partTest(filter);
}

function isGlob(text: string): boolean {
  return /[*?[]/.test(text);
}

function partTest(part: string): (name: string) => boolean {
  const lower = part.toLowerCase();
  return name => name.toLowerCase().includes(lower);
}

/** A filter may leave out the modules a name begins with, and the difference between a and A. */
function globTest(glob: string): (name: string) => boolean {
  return tested(`^([\\s\\S]*[./])?${expressionOf(glob)}$`, 'iu');
}

/** Whether a name matches the glob of a rule, as a whole: as Python's fnmatch reads it, `*` is anything. */
export function fnmatch(glob: string): (name: string) => boolean {
  return tested(`^${expressionOf(glob)}$`, 'u');
}

/** The glob that matches just this. */
export function literal(text: string): string {
  return text.replace(/[*?[]/g, '[$&]');
}

/** The glob of a rule for what a filter keeps; there may be none that is quite like it. */
export function globOf(filter: string): string {
  return isGlob(filter) ? filter : `*${filter}*`;
}

/** A glob, and the names that it matches. */
export interface Match {
  glob: string;
  names: readonly string[];
}

/**
 * Globs that match just these names, few of them: of those proposed, the ones that match none of the others, those that
 * match most first; what is left, one by one.
 */
export function cover(
  chosen: ReadonlySet<string>,
  proposed: readonly Match[],
  one: (name: string) => string
): string[] {
  const fitting = proposed
    .filter(({ names }) => names.length > 1 && names.every(name => chosen.has(name)))
    .sort((a, b) => b.names.length - a.names.length);
  const left = new Set(chosen);
  const globs = fitting.flatMap(({ glob, names }) => {
    const isWanted = names.some(name => left.has(name));
    names.forEach(name => left.delete(name));
    return isWanted ? [glob] : [];
  });
  return [...globs, ...[...left].map(one)];
}

function expressionOf(glob: string): string {
  const pattern = glob.replace(
    /\[(!?)(\]?[^\]]*)\]|[\s\S]/gu,
    (whole: string, not: string | undefined, set: string | undefined) => {
      if (set) {
        return `[${not ? '^' : ''}${set.replace(/[\\\]^[]/g, '\\$&')}]`;
      }
      return whole === '*' ? '[\\s\\S]*' : whole === '?' ? '[\\s\\S]' : whole.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
    }
  );
  return pattern.replace(/(\[\\s\\S\]\*)+/g, '[\\s\\S]*');
}

function tested(expression: string, flags: string): (name: string) => boolean {
  try {
    const compiled = new RegExp(expression, flags);
    return name => compiled.test(name);
  } catch {
    // A set such as [z-a] is no set: nothing is in it.
    return () => false;
  }
}
