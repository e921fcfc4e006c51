/**
 * How many tensors changed how much: a histogram of relative change, on a log scale.
 *
 * A bar stands for its most changed tensor. Dragging across it keeps a range, which filters the table and veils the
 * heatmap; with the keyboard, Shift and an arrow do the same. The plot's own selection is not used: the range is part
 * of the shared state, and drawn from it.
 */
import { useMemo, useState, type KeyboardEvent, type ReactElement } from 'react';

import type { Figure, Tensor } from '../api/types';
import { Chart } from './chart';
import { general } from './format';
import { Plot } from './plot';
import { binOf, mostChanged, type Range } from './state';
import { useTheme } from './theme';

interface Props {
  figure: Figure;
  tensors: readonly Tensor[];
  selected: Tensor | undefined;
  isLit: ((tensor: Tensor) => boolean) | null;
  range: Range | null;
  onSelect: (name: string) => void;
  onBrush: (range: Range | null) => void;
}

export function rangeText([low, high]: Range): string {
  return `${general(10 ** low, 2)} to ${general(10 ** high, 2)}`;
}

export function Norms({ figure, tensors, selected, isLit, range, onSelect, onBrush }: Props): ReactElement {
  const theme = useTheme();
  const [moved, setMoved] = useState<number | null>(null);
  const [anchor, setAnchor] = useState<number | null>(null);
  const [isFocused, setFocused] = useState(false);
  const edges = (figure.layout as { meta?: { edges?: number[] } }).meta?.edges;
  const bins = useMemo(() => {
    const bins = Array.from({ length: Math.max(0, (edges?.length ?? 0) - 1) }, (): Tensor[] => []);
    for (const tensor of tensors) {
      bins[binOf(tensor, edges ?? [])]?.push(tensor);
    }
    return bins;
  }, [edges, tensors]);
  const chosen = selected ? binOf(selected, edges ?? []) : -1;
  const first = bins.findIndex(bin => bin.length);
  const cursor = Math.max(0, Math.min(bins.length - 1, moved ?? (chosen < 0 ? first : chosen)));

  const data = useMemo(() => {
    const [bar, ...others] = figure.data as { marker?: object }[];
    const width = bins.map((_, index) => (index === chosen ? 3 : isFocused && index === cursor ? 1.5 : 0));
    const color = bins.map((_, index) => (index === chosen ? theme.brand : theme.text));
    const opacity = bins.map(bin => (isLit && !bin.some(isLit) ? 0.25 : 1));
    return [{ ...bar, marker: { ...bar?.marker, opacity, line: { width, color } } }, ...others];
  }, [figure, bins, chosen, cursor, isFocused, isLit, theme]);

  const layout = useMemo(() => {
    const line = { color: theme.brand, width: 1, dash: 'solid' };
    const brushed = range && {
      ...{ type: 'rect', xref: 'x', yref: 'paper', x0: range[0], x1: range[1], y0: 0, y1: 1 },
      ...{ line, fillcolor: theme.brand, opacity: 0.15, layer: 'below' }
    };
    const fixed = (axis: string): object => ({
      ...(figure.layout as Record<string, object>)[axis],
      fixedrange: true
    });
    return {
      ...figure.layout,
      ...{ dragmode: 'select', selectdirection: 'h', newselection: { line }, selections: [], bargap: 0.08 },
      ...{ shapes: brushed ? [brushed] : [], xaxis: fixed('xaxis'), yaxis: fixed('yaxis') }
    };
  }, [figure, range, theme]);

  const select = (index: number): void => {
    const tensor = mostChanged(bins[index] ?? []);
    if (tensor) {
      onSelect(tensor.name);
    }
  };
  const onKey = (event: KeyboardEvent): boolean => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      let next = cursor + step;
      while (bins[next]?.length === 0) {
        next += step;
      }
      next = bins[next] ? next : cursor;
      setMoved(next);
      const start = event.shiftKey ? (anchor ?? cursor) : null;
      setAnchor(start);
      if (start !== null && edges) {
        onBrush([edges[Math.min(start, next)] ?? 0, edges[Math.max(start, next) + 1] ?? 0]);
      }
    } else if (event.key === 'Enter' || event.key === ' ') {
      select(cursor);
    } else if (event.key === 'Escape' && range) {
      onBrush(null);
    } else {
      return false;
    }
    return true;
  };

  const [low, high] = [edges?.[cursor], edges?.[cursor + 1]];
  const count = bins[cursor]?.length ?? 0;
  const isOn = isFocused && low !== undefined && high !== undefined;
  return (
    <Chart
      testId="theta-norms"
      label="Tensors by relative change. Arrow keys move between bars, Enter selects, Shift and an arrow keep a range."
      spoken={isOn ? `${count} tensors, relative change ${rangeText([low, high])}` : ''}
      onFocus={setFocused}
      onKey={onKey}
    >
      <Plot
        data={data}
        layout={layout}
        height={150}
        label="Histogram of tensors by relative change"
        onClick={({ pointIndex }) => {
          if (typeof pointIndex === 'number') {
            setMoved(pointIndex);
            select(pointIndex);
          }
        }}
        onBrush={onBrush}
      />
    </Chart>
  );
}
