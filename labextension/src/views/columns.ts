/**
 * What the table of tensors has columns for, and how each cell is read.
 */
import type { CSSProperties } from 'react';

import type { Tensor } from '../api/types';
import {
  STATUS_WORDS,
  changeOf,
  cosineText,
  countText,
  general,
  isComparable,
  percentText,
  plain,
  relativeText,
  relativeValue,
  shapeText,
  sizeText
} from './format';
import type { Column } from './state';

interface Heading {
  column: Column;
  text: string;
  title: string;
  isNumber?: boolean;
  /** Letters that a column of texts is wide, at most. */
  most?: number;
  cell: (tensor: Tensor) => string;
  /** In full precision. */
  full?: (tensor: Tensor) => string;
}

const orNothing = (value: number | null, text: (value: number) => string): string =>
  value === null ? '' : text(value);
const exactly = (value: number | null): string => orNothing(value, String);

export const HEADINGS: readonly Heading[] = [
  { column: 'status', text: '', title: 'Status', cell: ({ status }) => status, full: t => STATUS_WORDS[t.status] },
  { column: 'name', text: 'tensor', title: 'Name of the tensor', cell: nameOf },
  { column: 'dtype', text: 'dtype', title: 'Type of the values', most: 13, cell: t => changeOf(t.old_dtype, t.dtype) },
  {
    ...{ column: 'shape', text: 'shape', title: 'Shape', most: 25 },
    cell: ({ old_shape, shape }) => changeOf(old_shape ? shapeText(old_shape) : '', shapeText(shape))
  },
  {
    ...{ column: 'size', text: 'params', title: 'Number of values', isNumber: true },
    cell: ({ size }) => countText(size),
    full: ({ size }) => String(size)
  },
  {
    ...{ column: 'relative', text: 'relative', title: 'Size of the change over what was: |new − old| / |old|' },
    isNumber: true,
    cell: tensor => (isComparable(tensor) ? relativeText(relativeValue(tensor), tensor.estimated) : ''),
    full: tensor => (tensor.estimated ? 'estimated: ' : '') + exactly(relativeValue(tensor))
  },
  {
    ...{ column: 'largest', text: 'largest', title: 'Largest difference of a value', isNumber: true },
    cell: ({ largest }) => orNothing(largest, value => general(value, 2)),
    full: ({ largest }) => exactly(largest)
  },
  {
    ...{ column: 'cosine', text: 'cosine', title: 'Cosine of the angle between old and new', isNumber: true },
    cell: ({ cosine }) => orNothing(cosine, cosineText),
    full: ({ cosine }) => exactly(cosine)
  },
  {
    ...{ column: 'changed', text: 'values', title: 'Share of values that changed', isNumber: true },
    cell: ({ changed }) => orNothing(changed, percentText),
    full: ({ changed }) => exactly(changed)
  },
  {
    column: 'update',
    text: 'stored as',
    title: 'How the new version is stored',
    most: 18,
    cell: ({ update }) => plain(update)
  },
  {
    ...{ column: 'stored', text: 'stored', title: 'Bytes that takes', isNumber: true },
    cell: ({ stored, update }) => (update ? sizeText(stored) : ''),
    full: ({ stored }) => `${stored} bytes`
  }
];

function nameOf({ old_name, name }: Tensor): string {
  return changeOf(plain(old_name), plain(name));
}

/** Letters of the widest cell, so that columns are as wide as they need to be, and stay so whatever is filtered. */
export function lettersOf(tensors: readonly Tensor[]): CSSProperties {
  const widths = HEADINGS.filter(({ most }) => most).map(({ column, text, cell, most = 0 }) => {
    const longest = tensors.reduce((letters, tensor) => Math.max(letters, cell(tensor).length), text.length + 2);
    return [`--theta-${column}`, Math.min(most, longest)];
  });
  return Object.fromEntries(widths) as CSSProperties;
}
