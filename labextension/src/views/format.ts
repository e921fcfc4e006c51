/**
 * Numbers and names, for people.
 *
 * The same rules as `theta_jupyter/results.py`: what a table in a terminal calls `23.5 M`, no view calls otherwise.
 */
import type { Status, Tensor } from '../api/types';

export const STATUS_WORDS: Record<Status, string> = {
  '': 'unchanged',
  A: 'added',
  M: 'changed',
  D: 'removed',
  R: 'renamed',
  S: 'reshaped',
  T: 'recast'
};

/** A number in so many significant digits, as Python's `g` format writes it. */
export function general(value: number, digits: number): string {
  if (!Number.isFinite(value)) {
    return Number.isNaN(value) ? '?' : value < 0 ? '-∞' : '∞';
  }
  const [mantissa = '', power = '0'] = value.toExponential(digits - 1).split('e');
  const exponent = Number(power);
  const trim = (text: string): string => (text.includes('.') ? text.replace(/\.?0+$/, '') : text);
  if (exponent < -4 || exponent >= digits) {
    return `${trim(mantissa)}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  return trim(value.toFixed(Math.max(0, digits - 1 - exponent)));
}

/** Bytes; powers of ten, as disks and networks count. */
export function sizeText(size: number): string {
  for (const unit of ['B', 'kB', 'MB', 'GB']) {
    if (size < 999.5) {
      return `${unit === 'B' || size >= 99.5 ? size.toFixed(0) : general(size, 2)} ${unit}`;
    }
    size /= 1000;
  }
  return `${general(size, 4)} TB`;
}

/** A number of things: `23.5 M`. */
export function countText(count: number): string {
  for (const unit of ['', ' k', ' M', ' G']) {
    if (count < 999.5) {
      return `${!unit || count >= 99.95 ? count.toFixed(0) : general(count, 3)}${unit}`;
    }
    count /= 1000;
  }
  return `${general(count, 4)} T`;
}

/** The relative change of a tensor as a number: infinite if there was nothing before, null if it is not known. */
export function relativeValue({ relative, l2, norm }: Tensor): number | null {
  return relative ?? (norm === 0 && l2 !== null && l2 > 0 ? Infinity : null);
}

/** A relative change; `~` marks an estimate. */
export function relativeText(value: number | null, estimated = false): string {
  return value === null ? '?' : `${estimated ? '~' : ''}${general(value, 2)}`;
}

/** How many values of the new version are no numbers to reckon with. */
export function notFinite({ not_finite }: Tensor): number {
  return not_finite;
}

export const NOT_FINITE = 'values that are NaN or infinite';

/** What stands in the place of the relative change of a tensor that has such values. */
export function notFiniteText(tensor: Tensor): string {
  return `${countText(notFinite(tensor))} not finite`;
}

/** Whether relative change means something: the tensor was there before, in the same shape. */
export function isComparable({ status }: Tensor): boolean {
  return status !== 'A' && status !== 'D' && status !== 'S';
}

/** What is said of the change of a tensor, in a word or a number. */
export function changeText(tensor: Tensor): string {
  if (!isComparable(tensor) || !tensor.status) {
    return STATUS_WORDS[tensor.status];
  }
  return notFinite(tensor) > 0
    ? notFiniteText(tensor)
    : `${relativeText(relativeValue(tensor), tensor.estimated)} relative`;
}

/** How the new version is stored, if there is one that is. */
export function storedAs({ status, update }: Tensor): string {
  return status === 'D' ? '' : update;
}

/** A cosine: how far from 1 it is, is what matters. */
export function cosineText(value: number): string {
  const gap = 1 - value;
  return gap > 0 && gap < 5e-7 ? `1 − ${general(gap, 2)}` : String(Number(value.toFixed(6)));
}

export function percentText(share: number): string {
  return `${general(100 * share, 3)} %`;
}

export function shapeText(shape: number[]): string {
  return shape.join(' × ') || 'scalar';
}

/** Something that has changed, or not: `old → new`. */
export function changeOf(old: string, value: string): string {
  return old && old !== value ? `${old} → ${value}` : value;
}

/** Control and formatting characters are shown, not obeyed. */
export function plain(text: string): string {
  return text.replace(/[\p{C}\p{Z}]/gu, char => {
    const code = char.codePointAt(0) ?? 0;
    const named: Record<string, string> = { ' ': ' ', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
    const [letter, digits] = code < 0x100 ? ['x', 2] : code < 0x10000 ? ['u', 4] : ['U', 8];
    return named[char] ?? `\\${letter}${code.toString(16).padStart(digits, '0')}`;
  });
}

/** The same, of what has lines: they stay, without the blanks around them. */
export function plainLines(text: string): string {
  return text
    .split('\n')
    .map(line => plain(line.trim()))
    .join('\n');
}
