/**
 * What was found out about a tensor: values that have names, and pictures.
 */
import type { ReactElement } from 'react';

import type { Fact, TitledFigure } from '../api/types';
import { plain } from './format';
import { Plot } from './plot';

export function Facts({ facts }: { facts: readonly Fact[] }): ReactElement {
  return (
    <dl>
      {facts.map(([label, value]) => (
        <div key={label}>
          <dt>{plain(label)}</dt>
          <dd>{plain(value)}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Figures({ figures }: { figures: readonly TitledFigure[] }): ReactElement | null {
  return figures.length ? (
    <div className="theta-figures">
      {figures.map(({ title, figure }) => (
        <figure key={title}>
          <figcaption>{plain(title)}</figcaption>
          <Plot
            data={figure.data}
            layout={figure.layout}
            height={(figure.layout as { height?: number }).height ?? 128}
            label={plain(title)}
          />
        </figure>
      ))}
    </div>
  ) : null;
}

/** A letter that stands for a word; the word is for who cannot see it. */
export function Mark({ letter, word }: { letter: string; word: string }): ReactElement {
  return (
    <span className="theta-status" data-status={letter} role="img" aria-label={word} title={word}>
      {letter || '·'}
    </span>
  );
}
