/**
 * What the table of conflicts has columns for.
 */
import type { CSSProperties } from 'react';

import type { Row } from '../../api/merge';
import { percentText, relativeText } from '../format';
import type { Column, Sort } from './session';

export interface Heading {
  column: Column;
  text: string;
  title: string;
  width: number;
  /** Left out where there is little room. */
  isMinor?: boolean;
  value: (row: Row) => number | null;
  format: (value: number, isEstimated: boolean) => string;
  /** Whose colour its bar has. */
  side?: 'ours' | 'theirs';
}

const about = (text: string, isEstimated: boolean): string => (isEstimated ? `~${text}` : text);

export const HEADINGS: readonly Heading[] = [
  {
    ...{ column: 'ours', text: '|ours|', title: 'Change of ours over the base: |ours − base| / |base|', width: 80 },
    ...{ side: 'ours', value: ({ ours }) => ours, format: relativeText }
  },
  {
    ...{ column: 'theirs', text: '|theirs|', title: 'Change of theirs over the base: |theirs − base| / |base|' },
    ...{ side: 'theirs', width: 80, value: ({ theirs }) => theirs, format: relativeText }
  },
  {
    ...{ column: 'angle', text: 'angle', title: 'Angle between the two changes', width: 52, isMinor: true },
    value: ({ angle }) => angle,
    format: (value, isEstimated) => about(`${value.toFixed(0)}°`, isEstimated)
  },
  {
    ...{ column: 'signs', text: 'signs', title: 'Share of values on whose direction both sides agree', width: 56 },
    isMinor: true,
    value: ({ signs }) => signs,
    format: (value, isEstimated) => about(percentText(Number(value.toPrecision(2))), isEstimated)
  }
];

/** The columns that have something to say. */
export function headingsOf(rows: readonly Row[], isNarrow: boolean): Heading[] {
  return HEADINGS.filter(({ isMinor, value }) => !(isNarrow && isMinor) && rows.some(row => value(row) !== null));
}

/** The strategy, and its parameters. */
const CHOICE = 120;
const WIDE_CHOICE = 280;

/** What a row is laid out by: the same for every row. */
export function layoutOf(headings: readonly Heading[], isWide: boolean): CSSProperties {
  const widths = [
    '28px',
    'var(--theta-name)',
    ...headings.map(({ width }) => `${width}px`),
    `${isWide ? WIDE_CHOICE : CHOICE}px`
  ];
  const tracks = widths.map((width, index) => (index === 1 ? `minmax(${width}, 1fr)` : width));
  return { '--theta-tracks': tracks.join(' '), '--theta-width': `calc(${widths.join(' + ')})` } as CSSProperties;
}

/** What a bar is drawn by: powers of ten, from the least change to the greatest, a decade at least. */
export function scaleOf(rows: readonly Row[]): (value: number | null) => number {
  let [low, high] = [Infinity, -Infinity];
  for (const { ours, theirs } of rows) {
    for (const value of [ours, theirs]) {
      if (value !== null && value > 0) {
        low = Math.min(low, Math.log10(value));
        high = Math.max(high, Math.log10(value));
      }
    }
  }
  low = Math.min(low, high - 1) - 0.1;
  return value =>
    value !== null && value > 0 && high > low ? Math.max(0, (Math.log10(value) - low) / (high - low)) : 0;
}

/** Rows by a column; what has no value comes last, whichever way. */
export function sorted(rows: readonly Row[], { by, down }: Sort): Row[] {
  const value = HEADINGS.find(({ column }) => column === by)?.value ?? (() => null);
  const turn = down ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null || x === y) {
      return Number(x === null) - Number(y === null) || (a.name < b.name ? -1 : 1);
    }
    return x < y ? -turn : turn;
  });
}
