/**
 * Rows without end: the frame that the tables share.
 *
 * Only the rows in sight are in the page, so ten thousand scroll like ten. A grid is one stop for the Tab key: a cursor
 * moves inside it, and what keys do beyond that, its table says.
 */
import { useVirtualizer } from '@tanstack/react-virtual';
import { useCallback, useId, useLayoutEffect, useRef, useState } from 'react';
import type { CSSProperties, KeyboardEvent, ReactElement, ReactNode, RefObject } from 'react';

/** Pixels, as the style sheet has them. */
const ROW = 24;
const HEAD = 28;

export interface GridState {
  id: string;
  /** The place of the cursor. */
  at: number;
  /** How many of the widths asked for it has. */
  size: number;
  /** Bring a row into sight, and the cursor to it. */
  move: (index: number) => void;
  isInSight: (index: number) => boolean;
  scroller: RefObject<HTMLDivElement>;
  items: { index: number; start: number }[];
  height: number;
  count: number;
}

/** What a grid of so many rows needs to know; its table may move the cursor through this. */
export function useGrid(count: number, widths: readonly number[], height = ROW): GridState {
  const id = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const size = useSize(scroller, widths);
  const [cursor, setCursor] = useState(0);
  const virtual = useVirtualizer({
    count,
    getScrollElement: () => scroller.current,
    estimateSize: () => height,
    overscan: 8,
    // What it does not know of: the heading above the rows, and perhaps a scrollbar below.
    scrollPaddingEnd: HEAD + 16
  });
  const move = useCallback(
    (index: number): void => {
      const next = Math.max(0, Math.min(count - 1, index));
      setCursor(next);
      virtual.scrollToIndex(next, { align: 'auto' });
    },
    [count, virtual]
  );
  const isInSight = useCallback(
    (index: number): boolean => {
      const { startIndex = 0, endIndex = -1 } = virtual.range ?? {};
      return index >= startIndex && index <= endIndex;
    },
    [virtual]
  );
  const items = virtual.getVirtualItems();
  const at = Math.max(0, Math.min(cursor, count - 1));
  return { id, at, size, move, isInSight, scroller, items, height: virtual.getTotalSize(), count };
}

interface Props {
  grid: GridState;
  testId: string;
  label: string;
  role?: 'grid' | 'treegrid';
  layout: CSSProperties;
  heading: ReactNode;
  /** What to say where there are no rows. */
  empty: string;
  /** Called when the cursor moves by a key, with where it was. */
  onMove?: (event: KeyboardEvent, to: number, from: number) => void;
  /** Says whether another key was for the table. */
  onKey: (event: KeyboardEvent) => boolean;
  row: (index: number, place: RowPlace) => ReactNode;
}

/** What a row tells the page. */
export interface RowPlace {
  id: string;
  top: number;
  index: number;
  isCursor: boolean;
}

export function Grid(props: Props): ReactElement {
  const { grid, testId, label, role = 'grid', layout, heading, empty, onMove, onKey, row } = props;
  const { id, at, count, size, move, scroller, items, height } = grid;
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget) {
      return;
    }
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW) - 2);
    const places: Record<string, number> = {
      ...{ ArrowUp: at - 1, ArrowDown: at + 1, PageUp: at - page, PageDown: at + page },
      ...{ Home: 0, End: count - 1 }
    };
    const place = places[event.key];
    if (place !== undefined) {
      const to = Math.max(0, Math.min(count - 1, place));
      move(to);
      onMove?.(event, to, at);
    } else if (!onKey(event)) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div
      ref={scroller}
      className={`theta-table${size ? '' : ' theta-narrow'}`}
      style={layout}
      data-testid={testId}
      role={role}
      tabIndex={0}
      aria-label={label}
      aria-rowcount={count + 1}
      aria-multiselectable={role === 'treegrid' || undefined}
      aria-activedescendant={count ? `${id}-${at}` : undefined}
      onKeyDown={onKeyDown}
    >
      <div className="theta-row theta-head" role="row" aria-rowindex={1}>
        {heading}
      </div>
      {count === 0 && <div className="theta-empty">{empty}</div>}
      <div role="presentation" style={{ height }}>
        {items.map(({ index, start }) =>
          row(index, { id: `${id}-${index}`, top: start, index, isCursor: index === at })
        )}
      </div>
    </div>
  );
}

interface HeadingProps {
  text: string;
  title: string;
  isNumber?: boolean | undefined;
  /** How the rows are sorted by this, if they are. */
  sorted?: 'ascending' | 'descending' | undefined;
  onSort: () => void;
}

/** The head of a column; a click sorts by it. */
export function HeadCell({ text, title, isNumber, sorted, onSort }: HeadingProps): ReactElement {
  return (
    <div role="columnheader" className={isNumber ? 'theta-number' : undefined} aria-sort={sorted ?? 'none'}>
      <button type="button" title={`${title}. Click to sort.`} aria-label={title} onClick={onSort}>
        {text}
        <span aria-hidden="true">{sorted ? (sorted === 'descending' ? ' ▾' : ' ▴') : ''}</span>
      </button>
    </div>
  );
}

/** At most so many letters at the end of a name are never cut; fewer where there is little room. */
const TAIL = 30;
const NARROW_TAIL = 16;

/** A name that is cut, if at all, before its end: that tells more than its middle. */
export function Name({ text, isNarrow }: { text: string; isNarrow: boolean }): ReactElement {
  const start = Math.max(0, text.length - (isNarrow ? NARROW_TAIL : TAIL));
  const dot = text.indexOf('.', start);
  const cut = dot > 0 && start > 0 ? dot : start;
  return (
    <>
      <span>{text.slice(0, cut)}</span>
      <span>{text.slice(cut)}</span>
    </>
  );
}

/** How many of these widths, in pixels, an element has; of one that is not seen, what it was before. */
function useSize(ref: RefObject<HTMLElement>, widths: readonly number[]): number {
  const [size, setSize] = useState(widths.length);
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) {
      return;
    }
    const measure = (): void => {
      if (element.offsetWidth) {
        setSize(widths.filter(width => element.offsetWidth >= width).length);
      }
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref, widths]);
  return size;
}
