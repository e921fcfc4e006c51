/**
 * How a merge is told: letters, shapes and sentences.
 */
import type { Class, MergeState, Row, Rule, Strategy, Values } from '../../api/merge';
import { general, shapeText } from '../format';
import { SHAPES } from '../versions';

/** As Git's letters where it has them; a side that came by itself has that side's shape. */
export const CLASS_LETTERS: Record<Class, string> = {
  unchanged: '·',
  'ours only': SHAPES.ours,
  'theirs only': SHAPES.theirs,
  'same on both': '=',
  'both changed': 'M',
  'added by both': 'A',
  'deleted and changed': 'D',
  reshaped: 'S'
};

/** A strategy, with the shape of the version that it takes; the name comes first, for who types it at a menu. */
export function strategyText({ name, takes }: Strategy): string {
  return takes ? `${name} ${SHAPES[takes]}` : name;
}

/** The values that are not as the strategy has them by itself. */
export function givenOf(strategy: Strategy | undefined, values: Values): Values {
  const defaults = new Map(strategy?.parameters.map(parameter => [parameter.name, JSON.stringify(parameter.default)]));
  return Object.fromEntries(
    Object.entries(values).filter(([name, value]) => JSON.stringify(value) !== defaults.get(name))
  );
}

export function valueText(value: unknown): string {
  return typeof value === 'number'
    ? general(value, 6)
    : Array.isArray(value)
      ? value.map(valueText).join(',')
      : String(value);
}

/** `ties(density=0.3)` */
export function callText({ strategy, parameters }: Pick<Rule, 'strategy' | 'parameters'>): string {
  const given = Object.entries(parameters).map(([name, value]) => `${name}=${valueText(value)}`);
  return given.length ? `${strategy}(${given.join(', ')})` : strategy;
}

/** What is given beyond the name of the strategy. */
export function givenText(given: Values): string {
  return Object.entries(given)
    .map(([name, value]) => `${name} ${valueText(value)}`)
    .join(', ');
}

/** Both shapes, where they differ; else none. */
export function shapesText({ ours_shape, theirs_shape }: Row): string {
  return ours_shape && theirs_shape ? `${shapeText(ours_shape)} | ${shapeText(theirs_shape)}` : '';
}

export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`;
}

/** Why a merge cannot be finished yet; empty if it can. */
export function hindrance({ left, others }: MergeState): string {
  if (left) {
    return `${plural(left, 'conflict')} ${left === 1 ? 'is' : 'are'} left`;
  }
  return others.length ? 'other files are still in conflict' : '';
}
