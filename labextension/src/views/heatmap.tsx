/**
 * Relative change by block and kind: where in the model something happened.
 *
 * The picture comes from Python. Here it gets an outline around the selected cell, a veil over the cells that a filter
 * leaves out, and a cursor for the keyboard. A cell stands for its most changed tensor.
 */
import { useMemo, useState, type KeyboardEvent, type ReactElement } from 'react';

import type { Figure, Tensor } from '../api/types';
import { Chart } from './chart';
import { changeText, plain } from './format';
import { Plot } from './plot';
import { mostChanged } from './state';
import { useTheme } from './theme';

interface Cell {
  x: number;
  y: number;
  tensors: Tensor[];
}

interface Props {
  figure: Figure;
  tensors: readonly Tensor[];
  selected: Tensor | undefined;
  isLit: ((tensor: Tensor) => boolean) | null;
  onSelect: (name: string) => void;
}

const keyOf = (x: number, y: number): string => `${x} ${y}`;

/** The cells there are, by place. */
function cellsOf(meta: { rows?: string[]; columns?: string[] }, tensors: readonly Tensor[]): Map<string, Cell> {
  const indexed = (names: string[] = []): Map<string, number> => new Map(names.map((name, index) => [name, index]));
  const [rows, columns] = [indexed(meta.rows), indexed(meta.columns)];
  const cells = new Map<string, Cell>();
  for (const tensor of tensors) {
    const x = columns.get(tensor.column);
    const y = rows.get(tensor.row);
    if (x !== undefined && y !== undefined) {
      const cell = cells.get(keyOf(x, y)) ?? { x, y, tensors: [] };
      cell.tensors.push(tensor);
      cells.set(keyOf(x, y), cell);
    }
  }
  return cells;
}

/** Texts in the cells that have no colour. */
interface Letters {
  x?: number[];
  y?: number[];
  textfont?: object;
}

interface Axis {
  tickvals?: number[];
  ticktext?: string[];
}

/** Pixels of a row, if there is room, and of all the cells. */
const ROW = 20;
const MOST = 400;

/** How high the picture is, and a cell of it; and how many labels fit beside the rows. */
function sizeOf({ layout }: Figure): { height: number; cell: number; labels: number } {
  const { xaxis, meta } = layout as { xaxis?: Axis; meta?: { rows?: string[] } };
  const rows = Math.max(1, meta?.rows?.length ?? 1);
  const cells = Math.min(MOST, Math.max(80, rows * ROW));
  // A letter is 6 pixels wide, and the labels below the columns hang aslant.
  const below = 4.4 * Math.max(0, ...(xaxis?.ticktext ?? []).map(text => text.length));
  return { height: Math.round(cells + Math.min(160, below) + 24), cell: cells / rows, labels: cells / 14 };
}

/** An axis that stays where it is, with as many labels as fit. */
function fixed(axis: Axis | undefined, most: number): object {
  const every = Math.ceil((axis?.tickvals?.length ?? 0) / most) || 1;
  const thin = <T,>(list: T[] | undefined): T[] | undefined => list?.filter((_, index) => index % every === 0);
  const labels = every > 1 ? { tickvals: thin(axis?.tickvals), ticktext: thin(axis?.ticktext) } : {};
  return { ...axis, ...labels, ticks: '', fixedrange: true, showgrid: false, zeroline: false, showline: false };
}

const STEPS: Record<string, readonly [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1]
};

/** The next cell in a direction: the nearest that way, and of these the one that is least aside. */
function neighbour(cells: Iterable<Cell>, from: Cell, [dx, dy]: readonly [number, number]): Cell | undefined {
  let best: Cell | undefined;
  let least = Infinity;
  for (const cell of cells) {
    const [x, y] = [cell.x - from.x, cell.y - from.y];
    const ahead = x * dx + y * dy;
    const aside = Math.abs(x * dy) + Math.abs(y * dx);
    // Sideways only to cells of the same row; up and down, rows may have other columns.
    if (ahead > 0 && (dx === 0 || aside === 0) && ahead * 1e4 + aside < least) {
      [best, least] = [cell, ahead * 1e4 + aside];
    }
  }
  return best;
}

function describe({ tensors }: Cell): string {
  const tensor = mostChanged(tensors);
  if (!tensor) {
    return '';
  }
  const others = tensors.length > 1 ? `, the most changed of ${tensors.length}` : '';
  return `${plain(tensor.row)}, ${plain(tensor.column)}: ${changeText(tensor)}${others}`;
}

export function Heatmap({ figure, tensors, selected, isLit, onSelect }: Props): ReactElement {
  const theme = useTheme();
  const [cursor, setCursor] = useState('');
  const [isFocused, setFocused] = useState(false);
  const meta = (figure.layout as { meta?: { rows?: string[]; columns?: string[] } }).meta;
  const cells = useMemo(() => cellsOf(meta ?? {}, tensors), [meta, tensors]);
  const chosen = useMemo(
    () => selected && [...cells.values()].find(cell => cell.tensors.some(({ name }) => name === selected.name)),
    [cells, selected]
  );
  const at = cells.get(cursor) ?? chosen ?? cells.values().next().value;

  const size = useMemo(() => sizeOf(figure), [figure]);

  const data = useMemo(() => {
    // Cells of a few pixels have no room for gaps and letters.
    const [heat, ...letters] = figure.data;
    const first = size.cell < 6 ? { ...heat, xgap: 0, ygap: 0 } : heat;
    const others = size.cell < 10 ? [] : (letters as Letters[]);
    if (!first || !isLit) {
      return first ? [first, ...others] : [];
    }
    const veil = Array.from({ length: meta?.rows?.length ?? 0 }, () =>
      Array.from({ length: meta?.columns?.length ?? 0 }, (): number | null => null)
    );
    for (const { x, y, tensors } of cells.values()) {
      const row = veil[y];
      if (row && !tensors.some(isLit)) {
        row[x] = 1;
      }
    }
    // A veil cannot cover letters: Plotly draws texts above all heatmaps.
    const dimmed = others.map(trace => {
      const color = trace.x?.map((x, index) => (veil[trace.y?.[index] ?? -1]?.[x] ? theme.grid : theme.text));
      return { ...trace, textfont: { ...trace.textfont, color } };
    });
    const scale = [0, 1].map(end => [end, theme.surface]);
    const above = { type: 'heatmap', z: veil, zmin: 0, zmax: 1, colorscale: scale, showscale: false, opacity: 0.8 };
    return [first, { ...above, hoverinfo: 'skip' }, ...dimmed];
  }, [figure, size, cells, meta, isLit, theme]);

  const layout = useMemo(() => {
    const outline = ({ x, y }: Cell, line: object): object => ({
      ...{ type: 'rect', x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5, layer: 'above', line }
    });
    const shapes = [
      ...(chosen ? [outline(chosen, { color: theme.brand, width: 3 })] : []),
      ...(isFocused && at ? [outline(at, { color: theme.text, width: 1.5, dash: 'dot' })] : [])
    ];
    const { xaxis, yaxis } = figure.layout as { xaxis?: Axis; yaxis?: Axis };
    return { ...figure.layout, dragmode: false, shapes, xaxis: fixed(xaxis, 48), yaxis: fixed(yaxis, size.labels) };
  }, [figure, chosen, at, isFocused, size, theme]);

  const select = (cell: Cell | undefined): void => {
    const tensor = cell && mostChanged(cell.tensors);
    if (tensor) {
      onSelect(tensor.name);
    }
  };
  const onKey = (event: KeyboardEvent): boolean => {
    const step = STEPS[event.key];
    if (step && at) {
      const next = neighbour(cells.values(), at, step) ?? at;
      setCursor(keyOf(next.x, next.y));
    } else if (event.key === 'Enter' || event.key === ' ') {
      select(at);
    } else {
      return false;
    }
    return true;
  };

  return (
    <Chart
      testId="theta-heatmap"
      label="Relative change by block and kind. Arrow keys move between cells, Enter selects."
      spoken={isFocused && at ? describe(at) : ''}
      onFocus={setFocused}
      onKey={onKey}
    >
      <Plot
        data={data}
        layout={layout}
        height={size.height}
        label="Heatmap of relative change"
        onClick={({ x, y }) => {
          setCursor(keyOf(x, y));
          select(cells.get(keyOf(x, y)));
        }}
      />
    </Chart>
  );
}
