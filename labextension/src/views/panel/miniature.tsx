/**
 * A diff in the space of a word: a bar for each block of a model, the more it changed the higher and the brighter.
 */
import type { ReactElement } from 'react';

import type { Miniature as Told } from '../../api/panel';
import { plain } from '../format';

/** Relative changes from this one on are told apart, up to 1. */
const FLOOR = 1e-6;
const HEIGHT = 14;
const STEP = 6;
const WIDTH = 5;
const LEAST = 3;
/** Cividis from a quarter on, because the darkest is lost on a dark page. */
const COLOURS = ['#414d6b', '#5a606f', '#6f7073', '#868379', '#9f9771', '#baac65', '#d6c24f', '#fde737'];

export function Miniature({ of: { values, text } }: { of: Told }): ReactElement {
  const width = Math.max(1, values.length * STEP - 1);
  return (
    <svg
      className="theta-miniature"
      role="img"
      aria-label={plain(text)}
      viewBox={`0 0 ${width} ${HEIGHT}`}
      style={{ width: Math.min(width, 96) }}
      preserveAspectRatio="none"
    >
      <title>{plain(text)}</title>
      {values.map((value, index) => (
        // A block has no name that is sure to be its own.
        <Bar key={index} value={value} x={index * STEP} />
      ))}
    </svg>
  );
}

function Bar({ value, x }: { value: number | string | null; x: number }): ReactElement {
  if (value === 0) {
    return <rect className="theta-miniature-still" x={x} y={HEIGHT - 1} width={WIDTH} height={1} />;
  }
  if (typeof value === 'number') {
    const share = 1 - Math.log10(Math.min(1, Math.max(FLOOR, value))) / Math.log10(FLOOR);
    const height = LEAST + share * (HEIGHT - LEAST);
    const colour = COLOURS[Math.min(COLOURS.length - 1, Math.floor(share * COLOURS.length))];
    return <rect x={x} y={HEIGHT - height} width={WIDTH} height={height} fill={colour} />;
  }
  return (
    <text className="theta-miniature-sign" x={x + WIDTH / 2} y={HEIGHT - 3} textAnchor="middle">
      {value ?? '?'}
    </text>
  );
}
