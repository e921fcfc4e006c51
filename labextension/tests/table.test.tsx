/** The table of a diff: which columns it has, and how wide it has to be for them. */
import { describe, expect, it } from 'vitest';

import type { Tensor } from '../src/api/types';
import { WIDTHS, headingsOf } from '../src/views/columns';

const tensor: Tensor = {
  ...{ name: 'encoder.layer.0.weight', status: 'M', dtype: 'F32', shape: [384, 384], size: 147456 },
  ...{ old_name: '', old_shape: null, old_dtype: '', norm: 1, l2: 0.1, relative: 0.1, estimated: false },
  ...{ largest: 0.1, cosine: 0.98, changed: 1, not_finite: 0, update: 'low_rank', stored: 1000, row: '', column: '' }
};

const columns = (size: number, of: Partial<Tensor> = {}): string[] =>
  headingsOf([{ ...tensor, ...of }], size).map(({ column }) => column);

describe('the columns of a diff', () => {
  it('are more the more room there is', () => {
    const all = columns(WIDTHS.length);
    const [least, some] = [columns(0), columns(1)];
    expect(all.filter(column => !some.includes(column))).toEqual(['dtype', 'size', 'changed']);
    expect(some.filter(column => !least.includes(column))).toEqual(['shape']);
    expect(least).toEqual(['status', 'name', 'relative', 'largest', 'cosine', 'update', 'stored']);
  });

  it('are left out if there is nothing in them, unless it is yet to be measured', () => {
    const unknown = { largest: null, cosine: null, changed: null };
    expect(columns(2, { ...unknown, update: '', shape: [], dtype: '' })).toContain('cosine');
    expect(columns(2, { ...unknown, status: 'A', relative: null, dtype: '' })).toEqual(
      columns(2).filter(column => !['dtype', 'relative', 'largest', 'cosine', 'changed'].includes(column))
    );
  });
});
