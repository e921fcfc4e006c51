/**
 * The versions that take part in a merge, as charts, chips and tables show them: the colours are in the style sheet.
 */
import type { ReactElement } from 'react';

export type VersionName = 'ours' | 'theirs' | 'base' | 'result';

/** A shape for each, so that it is not told by its colour alone. */
export const SHAPES: Record<VersionName, string> = { ours: '●', theirs: '▲', base: '◆', result: '■' };

/** The version that a label begins with, if it does. */
export function versionOf(label: string): VersionName | undefined {
  return /^(ours|theirs|base|result)\b/u.exec(label)?.[1] as VersionName | undefined;
}

/** The shape of a version, in its colour. With a word beside it, it is only seen. */
export function Shape({ version, isAlone = false }: { version: VersionName; isAlone?: boolean }): ReactElement {
  const spoken = isAlone ? { role: 'img', 'aria-label': version, title: version } : { 'aria-hidden': true };
  return (
    <span className={`theta-shape theta-${version}`} {...spoken}>
      {SHAPES[version]}
    </span>
  );
}
