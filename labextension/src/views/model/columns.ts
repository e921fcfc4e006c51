/**
 * What the table of a model's tensors has columns for, and how each cell is read.
 */
import type { CSSProperties } from 'react';

import type { ModelTensor } from '../../api/panel';
import { countText, general, plain, shapeText, sizeText } from '../format';
import type { Words } from '../panel/actions';

export type ColumnId = 'name' | 'dtype' | 'shape' | 'values' | 'norm' | 'mean' | 'largest' | 'update' | 'stored';

export interface Sort {
  by: ColumnId;
  down: boolean;
}

export interface Column {
  id: ColumnId;
  isNumber: boolean;
  /** Pixels; the name takes what is left. */
  width: number;
  /** From so many pixels of the table on there is room for it. */
  from: number;
  value: (tensor: ModelTensor) => string | number | null;
  text: (tensor: ModelTensor) => string;
  /** In full precision. */
  full: (tensor: ModelTensor) => string;
}

export const COLUMNS: readonly Column[] = [
  word('name', 0, 0, ({ name }) => plain(name)),
  word('dtype', 64, 648, ({ dtype }) => dtype),
  {
    ...word('shape', 112, 0, ({ shape }) => shapeText(shape)),
    value: ({ shape }) => shape.length * 1e15 + (shape[0] ?? 0)
  },
  number('values', 72, 584, ({ shape }) => sizeOf(shape), countText),
  number('norm', 88, 520, ({ norm }) => norm, short),
  number('mean', 88, 816, ({ mean }) => mean, short),
  number('largest', 80, 728, ({ largest }) => largest, short),
  word('update', 136, 952, ({ update }) => plain(update)),
  { ...number('stored', 72, 0, ({ stored }) => stored, sizeText), full: ({ stored }) => `${stored} bytes` }
];

/** The widths at which there are more columns. */
export const WIDTHS = COLUMNS.flatMap(({ from }) => from || []).sort((a, b) => a - b);

function word(id: ColumnId, width: number, from: number, text: Column['text']): Column {
  return { id, isNumber: false, width, from, value: tensor => text(tensor) || null, text, full: text };
}

function number(
  id: ColumnId,
  width: number,
  from: number,
  value: (tensor: ModelTensor) => number | null,
  format: (value: number) => string
): Column {
  const or = (write: (value: number) => string) => (tensor: ModelTensor) => {
    const found = value(tensor);
    return found === null ? '' : write(found);
  };
  return { id, isNumber: true, width, from, value, text: or(format), full: or(String) };
}

function short(value: number): string {
  return general(value, 3);
}

/** How many values a tensor has. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** What stands above a column, and what it means. */
export function headOf(id: ColumnId, words: Words): { text: string; title: string } {
  const heads: Record<ColumnId, [text: string, title: string]> = {
    name: [words.__('tensor'), words.__('Name of the tensor')],
    dtype: [words.__('dtype'), words.__('Type of the values')],
    shape: [words.__('shape'), words.__('Shape')],
    values: [words.__('params'), words.__('Number of values')],
    norm: [words.__('norm'), words.__('L2 norm')],
    mean: [words.__('mean'), words.__('Mean of the values')],
    largest: [words.__('largest'), words.__('Largest magnitude of a value')],
    update: [words.__('stored as'), words.__('How this version is stored')],
    stored: [words.__('stored'), words.__('Bytes that takes')]
  };
  const [text, title] = heads[id];
  return { text, title };
}

/** The columns that there is room for, and that have something to say. */
export function columnsOf(tensors: readonly ModelTensor[], size: number): Column[] {
  const room = WIDTHS[size - 1] ?? 0;
  return COLUMNS.filter(({ from, value }) => from <= room && tensors.some(tensor => value(tensor) !== null));
}

/** What a row is laid out by: the same for every row. */
export function layoutOf(columns: readonly Column[]): CSSProperties {
  const widths = ['28px', ...columns.map(({ id, width }) => (id === 'name' ? 'var(--theta-name)' : `${width}px`))];
  const tracks = widths.map((width, index) => (index === 1 ? `minmax(${width}, 1fr)` : width));
  return { '--theta-tracks': tracks.join(' '), '--theta-width': `calc(${widths.join(' + ')})` } as CSSProperties;
}

/** Tensors by a column; what has no value comes last, whichever way. */
export function sorted(tensors: readonly ModelTensor[], { by, down }: Sort): ModelTensor[] {
  const value = COLUMNS.find(({ id }) => id === by)?.value ?? (() => null);
  const turn = down ? -1 : 1;
  return tensors
    .map(tensor => ({ tensor, key: value(tensor) }))
    .sort((a, b) => {
      if (a.key === null || b.key === null || a.key === b.key) {
        return Number(a.key === null) - Number(b.key === null) || (a.tensor.name < b.tensor.name ? -1 : 1);
      }
      return a.key < b.key ? -turn : turn;
    })
    .map(({ tensor }) => tensor);
}
