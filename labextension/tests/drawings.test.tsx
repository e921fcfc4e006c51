import { render, screen } from '@testing-library/react';
import { describe, expect, it } from 'vitest';

import { english } from '../src/views/panel/actions';
import { Miniature } from '../src/views/panel/miniature';
import { ago, whole } from '../src/views/panel/time';

describe('a miniature', () => {
  const draw = (...values: (number | string | null)[]): Element[] => {
    render(<Miniature of={{ path: 'm', blocks: values.map(String), values, text: 'in words' }} />);
    return [...screen.getByRole('img', { name: 'in words' }).children].filter(({ tagName }) => tagName !== 'title');
  };
  const height = (bar: Element | undefined): number => Number(bar?.getAttribute('height'));

  it('has a bar for each block, the higher the more it changed', () => {
    const bars = draw(0, 1e-6, 1e-3, 1);
    expect(bars.map(({ tagName }) => tagName)).toEqual(['rect', 'rect', 'rect', 'rect']);
    const heights = bars.map(height);
    expect(heights).toEqual([...heights].sort((a, b) => a - b));
    expect(new Set(heights).size).toBe(4);
    expect(new Set(bars.slice(1).map(bar => bar.getAttribute('fill'))).size).toBe(3);
  });

  it('draws what is beyond its scale at the end of it', () => {
    const [low, least, most, high] = draw(1e-12, 1e-6, 1, 50);
    expect([height(low), height(high)]).toEqual([height(least), height(most)]);
  });

  it('has signs where there is no number', () => {
    expect(draw('+', '-', '±', null).map(({ textContent }) => textContent)).toEqual(['+', '-', '±', '?']);
  });

  it('bears having no block', () => {
    expect(draw()).toEqual([]);
  });
});

describe('a time', () => {
  const now = Date.parse('2026-03-01T12:00:00Z');

  it.each([
    ['2026-03-01T11:59:30Z', 'now'],
    ['2026-03-01T12:05:00Z', 'now'],
    ['2026-03-01T11:58:00Z', '2 min'],
    ['2026-03-01T09:59:00Z', '2 h'],
    ['2026-02-20T12:00:00Z', '9 d'],
    ['nonsense', '']
  ])('%s is %s', (date, text) => {
    expect(ago(date, english, now)).toBe(text);
  });

  it('long ago is a date', () => {
    expect(ago('2024-03-01T12:00:00Z', english, now)).toContain('2024');
  });

  it('is shown as it stands if it is none', () => {
    expect(whole('nonsense')).toBe('nonsense');
  });
});
