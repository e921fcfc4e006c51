/**
 * What is looked at, and what follows from it.
 *
 * One state is shared by the heatmap, the histogram, the table and the detail, so that a click in one shows in all.
 * Everything here is pure: who loads and who draws is elsewhere.
 */
import type { FileDiff, Refreshed, Tensor } from '../api/types';
import { isComparable, notFinite, relativeValue, storedAs } from './format';
import { matcher } from './globs';

export type Column =
  'status' | 'name' | 'dtype' | 'shape' | 'size' | 'relative' | 'largest' | 'cosine' | 'changed' | 'update' | 'stored';

/** `change` is the order to start with: what is broken first, then what is wholly new or gone, then by relative change. */
export interface Sort {
  by: Column | 'change';
  down: boolean;
}

/** From, to: relative change, as powers of ten. */
export type Range = readonly [number, number];

/** What others may see and set, too: the traits of the widget. */
export interface Shared {
  selection: string;
  filter: string;
  hideUnchanged: boolean;
  file: string;
}

export interface State extends Shared {
  data: FileDiff | null;
  range: Range | null;
  sort: Sort;
  /** Places in `data.tensors`, as sorted when they were loaded or somebody last sorted: exact numbers move no row. */
  order: readonly number[];
}

export type Action =
  | { type: 'share'; part: Partial<Shared> }
  | { type: 'load'; data: FileDiff | null }
  | { type: 'exact'; path: string; tensors: Tensor[] }
  | { type: 'refresh'; path: string; part: Refreshed }
  | { type: 'brush'; range: Range | null }
  | { type: 'sort'; by: Column };

export function initial(shared: Shared): State {
  return { ...shared, data: null, range: null, sort: { by: 'change', down: true }, order: [] };
}

export function reduce(state: State, action: Action): State {
  switch (action.type) {
    case 'share':
      return { ...state, ...action.part };
    case 'load':
      return { ...state, data: action.data, range: null, order: orderOf(action.data?.tensors ?? [], state.sort) };
    case 'exact': {
      if (state.data?.path !== action.path) {
        return state;
      }
      const exact = new Map(action.tensors.map(tensor => [tensor.name, tensor]));
      const tensors = state.data.tensors.map(tensor => exact.get(tensor.name) ?? tensor);
      return { ...state, data: { ...state.data, tensors } };
    }
    case 'refresh':
      return state.data?.path === action.path ? { ...state, data: { ...state.data, ...action.part } } : state;
    case 'brush':
      return { ...state, range: action.range };
    case 'sort': {
      const { by } = action;
      // Numbers start with the largest, words with A.
      const down = state.sort.by === by ? !state.sort.down : !WORDS.has(by);
      const sort = { by, down };
      return { ...state, sort, order: orderOf(state.data?.tensors ?? [], sort) };
    }
  }
}

const WORDS = new Set<Column>(['name', 'dtype', 'update']);

/** How much a tensor has changed, for ordering: wholly, by a factor, somehow, not. */
export function weight(tensor: Tensor): number {
  if (!tensor.status) {
    return -1;
  }
  return isComparable(tensor) ? (relativeValue(tensor) ?? -0.5) : Infinity;
}

function byChange(a: Tensor, b: Tensor): number {
  // Two that are infinite have a difference that is no number; they are ordered by what is left.
  return (
    Number(isBroken(b)) - Number(isBroken(a)) ||
    Number(isComparable(a)) - Number(isComparable(b)) ||
    weight(b) - weight(a) ||
    byName(a, b)
  );
}

/** Whether a change has left values that are NaN or infinite; a mask that always had them has not changed. */
function isBroken(tensor: Tensor): boolean {
  return tensor.status !== '' && notFinite(tensor) > 0;
}

function byName(a: Tensor, b: Tensor): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

/** The most changed of some tensors. */
export function mostChanged(tensors: readonly Tensor[]): Tensor | undefined {
  return tensors.reduce<Tensor | undefined>(
    (best, next) => (best && byChange(best, next) <= 0 ? best : next),
    undefined
  );
}

const VALUES: Record<Column, (tensor: Tensor) => string | number | null> = {
  status: ({ status }) => 'ADSTRM'.split('').reverse().indexOf(status),
  name: ({ name }) => name,
  dtype: ({ dtype }) => dtype,
  shape: ({ shape }) => shape.length * 1e15 + (shape[0] ?? 0),
  size: ({ size }) => size,
  relative: tensor => (notFinite(tensor) > 0 ? Infinity : isComparable(tensor) ? relativeValue(tensor) : null),
  largest: ({ largest }) => largest,
  cosine: ({ cosine }) => cosine,
  changed: ({ changed }) => changed,
  update: tensor => storedAs(tensor) || null,
  stored: tensor => (storedAs(tensor) ? tensor.stored : null)
};

/** The places of tensors, in the order asked for. */
function orderOf(tensors: readonly Tensor[], sort: Sort): number[] {
  const places = new Map(tensors.map((tensor, index) => [tensor, index]));
  return sorted(tensors, sort).flatMap(tensor => places.get(tensor) ?? []);
}

/** Tensors in the order asked for. What has no value comes last, whichever way. */
function sorted(tensors: readonly Tensor[], { by, down }: Sort): Tensor[] {
  if (by === 'change') {
    return [...tensors].sort(byChange);
  }
  const value = VALUES[by];
  const turn = down ? -1 : 1;
  return tensors
    .map(tensor => ({ tensor, value: value(tensor) }))
    .sort((a, b) => {
      if (a.value === null || b.value === null || a.value === b.value) {
        return Number(a.value === null) - Number(b.value === null) || byName(a.tensor, b.tensor);
      }
      return a.value < b.value ? -turn : turn;
    })
    .map(({ tensor }) => tensor);
}

/** Whether filter and brush leave a tensor in the light. Hiding the unchanged is the table's own affair. */
export function isLit(filter: string, range: Range | null): ((tensor: Tensor) => boolean) | null {
  if (!filter && !range) {
    return null;
  }
  const test = matcher(filter);
  const matches = ({ name, old_name }: Tensor): boolean => test(name) || (old_name !== '' && test(old_name));
  return tensor => matches(tensor) && (!range || isWithin(tensor, range));
}

/** What lies beyond is drawn as these (`theta_jupyter/diffs/figures.py`). */
const [FLOOR, CEILING] = [-7, 0];

/** Whether the relative change of a tensor lies in a range. */
export function isWithin(tensor: Tensor, [low, high]: Range): boolean {
  const power = powerOf(tensor);
  return power !== null && power >= low && power <= high;
}

/** Relative change as a power of ten, within the limits of the figures; null if there is none to draw. */
export function powerOf(tensor: Tensor): number | null {
  const value = isComparable(tensor) && tensor.status ? relativeValue(tensor) : null;
  return value !== null && value > 0 ? Math.max(FLOOR, Math.min(CEILING, Math.log10(value))) : null;
}

/** The bin of a histogram that a tensor falls into; -1 if none. The outer bins take what lies beyond them. */
export function binOf(tensor: Tensor, edges: readonly number[]): number {
  const power = powerOf(tensor);
  if (power === null || edges.length < 2) {
    return -1;
  }
  const above = edges.findIndex(edge => power < edge);
  return Math.max(0, Math.min(edges.length - 2, (above < 0 ? edges.length : above) - 1));
}

/** Whether measuring a tensor would tell more than is known. */
export function isUnmeasured({ status, estimated, l2, largest }: Tensor): boolean {
  return (
    (status === 'M' || status === 'T' || status === 'R') && (estimated || l2 === null || (l2 > 0 && largest === null))
  );
}

/** Tensors in portions that can be measured in one go. */
export function portions(tensors: readonly Tensor[], most = 32, values = 16e6): Tensor[][] {
  const found: Tensor[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    const last = found.at(-1);
    if (last && last.length < most && tensor.size <= room) {
      last.push(tensor);
      room -= tensor.size;
    } else {
      found.push([tensor]);
      room = values - tensor.size;
    }
  }
  return found;
}
