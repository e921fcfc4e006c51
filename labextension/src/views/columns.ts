/**
 * What the table of tensors has columns for, and how each cell is read.
 */
import type { CSSProperties } from 'react';

import type { Tensor } from '../api/types';
import {
  NOT_FINITE,
  STATUS_WORDS,
  changeOf,
  cosineText,
  countText,
  general,
  isComparable,
  notFinite,
  notFiniteText,
  percentText,
  plain,
  relativeText,
  relativeValue,
  shapeText,
  sizeText,
  storedAs
} from './format';
import { isUnmeasured, type Column } from './state';

/** Pixels from which on there is room for more columns, and for all. */
export const WIDTHS = [700, 1060];

export interface Heading {
  column: Column;
  text: string;
  title: string;
  isNumber?: boolean;
  /** Pixels; */
  width?: number;
  /** or as many letters as the widest cell, up to so many. */
  most?: number;
  /** Left out where there is less room: how many of `WIDTHS` it takes. */
  from?: number;
  /** Empty until measured. */
  isMeasured?: boolean;
  cell: (tensor: Tensor) => string;
  /** In full precision. */
  full?: (tensor: Tensor) => string;
}

const orNothing = (value: number | null, text: (value: number) => string): string =>
  value === null ? '' : text(value);
const exactly = (value: number | null): string => orNothing(value, String);

const HEADINGS: readonly Heading[] = [
  {
    column: 'status',
    text: '',
    title: 'Status',
    width: 28,
    cell: ({ status }) => status,
    full: t => STATUS_WORDS[t.status]
  },
  { column: 'name', text: 'tensor', title: 'Name of the tensor', cell: nameOf },
  {
    ...{ column: 'dtype', text: 'dtype', title: 'Type of the values', most: 13, from: 2 },
    cell: t => changeOf(t.old_dtype, t.dtype)
  },
  {
    ...{ column: 'shape', text: 'shape', title: 'Shape', most: 25, from: 1 },
    cell: ({ old_shape, shape }) => changeOf(old_shape ? shapeText(old_shape) : '', shapeText(shape))
  },
  {
    ...{ column: 'size', text: 'params', title: 'Number of values', isNumber: true, width: 72, from: 2 },
    cell: ({ size }) => countText(size),
    full: ({ size }) => String(size)
  },
  {
    ...{ column: 'relative', text: 'relative', title: 'Size of the change over what was: |new − old| / |old|' },
    isNumber: true,
    most: 18,
    cell: relativeOf,
    full: tensor =>
      notFinite(tensor) > 0 ? NOT_FINITE : (tensor.estimated ? 'estimated: ' : '') + exactly(relativeValue(tensor))
  },
  {
    ...{ column: 'largest', text: 'largest', title: 'Largest difference of a value', isNumber: true, width: 84 },
    isMeasured: true,
    cell: ({ largest }) => orNothing(largest, value => general(value, 2)),
    full: ({ largest }) => exactly(largest)
  },
  {
    ...{
      column: 'cosine',
      text: 'cosine',
      title: 'Cosine of the angle between old and new',
      isNumber: true,
      width: 96
    },
    isMeasured: true,
    cell: ({ cosine }) => orNothing(cosine, cosineText),
    full: ({ cosine }) => exactly(cosine)
  },
  {
    ...{ column: 'changed', text: 'values', title: 'Share of values that changed', isNumber: true, width: 72, from: 2 },
    isMeasured: true,
    cell: ({ changed }) => orNothing(changed, percentText),
    full: ({ changed }) => exactly(changed)
  },
  {
    column: 'update',
    text: 'stored as',
    title: 'How the new version is stored',
    most: 18,
    cell: tensor => plain(storedAs(tensor))
  },
  {
    ...{ column: 'stored', text: 'stored', title: 'Bytes that takes', isNumber: true, width: 72 },
    cell: tensor => (storedAs(tensor) ? sizeText(tensor.stored) : ''),
    full: ({ stored }) => `${stored} bytes`
  }
];

function nameOf({ old_name, name }: Tensor): string {
  return changeOf(plain(old_name), plain(name));
}

function relativeOf(tensor: Tensor): string {
  if (notFinite(tensor) > 0) {
    return notFiniteText(tensor);
  }
  return isComparable(tensor) ? relativeText(relativeValue(tensor), tensor.estimated) : '';
}

/** The columns that there is room for, and that have something to say of some tensors, or will once these are measured. */
export function headingsOf(tensors: readonly Tensor[], size: number): Heading[] {
  const isWaiting = tensors.some(isUnmeasured);
  const hasText = ({ cell }: Heading): boolean => tensors.some(tensor => cell(tensor) !== '');
  return HEADINGS.filter(
    heading => (heading.from ?? 0) <= size && ((isWaiting && heading.isMeasured === true) || hasText(heading))
  );
}

/** What a row is laid out by: as wide as it needs to be, and the same for every row, whatever is filtered. */
export function layoutOf(headings: readonly Heading[], tensors: readonly Tensor[]): CSSProperties {
  const letters = ({ text, cell, most = 0 }: Heading): number =>
    Math.min(
      most,
      tensors.reduce((longest, tensor) => Math.max(longest, cell(tensor).length), text.length + 2)
    );
  const widths = headings.map(heading => {
    const { column, width } = heading;
    if (column === 'name') {
      return 'var(--theta-name)';
    }
    if (width) {
      return `${width}px`;
    }
    const count = letters(heading);
    return `calc(16px + 1ch * ${column === 'shape' ? `min(${count}, var(--theta-shape))` : count})`;
  });
  const tracks = widths.map((width, index) => (headings[index]?.column === 'name' ? `minmax(${width}, 1fr)` : width));
  return { '--theta-tracks': tracks.join(' '), '--theta-width': `calc(${widths.join(' + ')})` } as CSSProperties;
}
