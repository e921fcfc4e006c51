/**
 * Every tensor, a row each.
 *
 * Only the rows in sight are in the page, so ten thousand scroll like ten. The table is one stop for the Tab key: a
 * cursor moves inside it, and Enter selects. Sorting and filtering happen before, in `state.ts`.
 */
import { useVirtualizer } from '@tanstack/react-virtual';
import { memo, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from 'react';
import type { KeyboardEvent, ReactElement, RefObject } from 'react';

import type { Tensor } from '../api/types';
import { headingsOf, layoutOf, type Heading } from './columns';
import { STATUS_WORDS } from './format';
import type { Column, Sort } from './state';

interface Props {
  tensors: readonly Tensor[];
  /** Those of them that are shown, in order. */
  rows: readonly Tensor[];
  sort: Sort;
  selection: string;
  onSort: (by: Column) => void;
  onSelect: (name: string) => void;
}

/** Pixels, as the style sheet has them. */
const ROW = 24;
const HEAD = 28;
/** At most so many letters at the end of a name are never cut; fewer where there is little room. */
const TAIL = 30;
const NARROW_TAIL = 16;
const NARROW = 700;

export function Table({ tensors, rows, sort, selection, onSort, onSelect }: Props): ReactElement {
  const id = useId();
  const scroller = useRef<HTMLDivElement>(null);
  const isNarrow = useIsNarrow(scroller);
  const headings = useMemo(() => headingsOf(tensors, isNarrow), [tensors, isNarrow]);
  const layout = useMemo(() => layoutOf(headings, tensors), [headings, tensors]);
  const [cursor, setCursor] = useState(0);
  const at = Math.min(cursor, rows.length - 1);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 8,
    // What it does not know of: the heading above the rows, and perhaps a scrollbar below.
    scrollPaddingEnd: HEAD + 16
  });

  // Whoever selects, the row comes into view. An exact number may bring other rows into a range, or out of it, and it
  // stays in view; but the table does not jump to it from elsewhere, or because somebody sorts.
  const index = useMemo(() => rows.findIndex(({ name }) => name === selection), [rows, selection]);
  const last = useRef({ selection: '', index: -1, tensors });
  useEffect(() => {
    const { startIndex = 0, endIndex = -1 } = virtual.range ?? {};
    const was = last.current;
    last.current = { selection, index, tensors };
    const isMoved = was.tensors !== tensors && was.index >= startIndex && was.index <= endIndex;
    if (index >= 0 && (was.selection !== selection || isMoved)) {
      setCursor(index);
      virtual.scrollToIndex(index, { align: 'auto' });
    }
  }, [selection, index, tensors, virtual]);

  const move = (index: number): void => {
    const next = Math.max(0, Math.min(rows.length - 1, index));
    setCursor(next);
    virtual.scrollToIndex(next, { align: 'auto' });
  };
  const sortBy = (by: Column): void => {
    onSort(by);
    // The top is what one sorts for.
    move(0);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.target !== event.currentTarget) {
      return;
    }
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW) - 2);
    const places: Record<string, number> = {
      ...{ ArrowUp: at - 1, ArrowDown: at + 1, PageUp: at - page, PageDown: at + page },
      ...{ Home: 0, End: rows.length - 1 }
    };
    const place = places[event.key];
    const row = rows[at];
    if (place !== undefined) {
      move(place);
    } else if ((event.key === 'Enter' || event.key === ' ') && row) {
      onSelect(row.name);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div
      ref={scroller}
      className={`theta-table${isNarrow ? ' theta-narrow' : ''}`}
      style={layout}
      data-testid="theta-table"
      role="grid"
      tabIndex={0}
      aria-label="Tensors"
      aria-rowcount={rows.length + 1}
      aria-activedescendant={rows.length ? `${id}-${at}` : undefined}
      onKeyDown={onKeyDown}
    >
      <div className="theta-row theta-head" role="row" aria-rowindex={1}>
        {headings.map(({ column, text, title, isNumber }) => {
          const isSorted = sort.by === column;
          return (
            <div
              key={column}
              role="columnheader"
              className={isNumber ? 'theta-number' : undefined}
              aria-sort={isSorted ? (sort.down ? 'descending' : 'ascending') : 'none'}
            >
              <button
                type="button"
                title={`${title}. Click to sort.`}
                aria-label={title}
                onClick={() => sortBy(column)}
              >
                {text || '±'}
                <span aria-hidden="true">{isSorted ? (sort.down ? ' ▾' : ' ▴') : ''}</span>
              </button>
            </div>
          );
        })}
      </div>
      {rows.length === 0 && <div className="theta-empty">No tensor is left by the filter.</div>}
      <div role="presentation" style={{ height: virtual.getTotalSize() }}>
        {virtual.getVirtualItems().map(({ index, start }) => {
          const tensor = rows[index];
          return (
            tensor && (
              <Row
                key={tensor.name}
                id={`${id}-${index}`}
                index={index}
                top={start}
                tensor={tensor}
                headings={headings}
                tail={isNarrow ? NARROW_TAIL : TAIL}
                isSelected={tensor.name === selection}
                isCursor={index === at}
                onSelect={onSelect}
              />
            )
          );
        })}
      </div>
    </div>
  );
}

/** Whether an element is narrow; of one that is not seen, what it was before. */
function useIsNarrow(ref: RefObject<HTMLElement>): boolean {
  const [isNarrow, setNarrow] = useState(false);
  useLayoutEffect(() => {
    const element = ref.current;
    if (!element) {
      return;
    }
    const measure = (): void => {
      if (element.offsetWidth) {
        setNarrow(element.offsetWidth < NARROW);
      }
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref]);
  return isNarrow;
}

interface RowProps {
  id: string;
  index: number;
  top: number;
  tensor: Tensor;
  headings: readonly Heading[];
  tail: number;
  isSelected: boolean;
  isCursor: boolean;
  onSelect: (name: string) => void;
}

const Row = memo(function Row(props: RowProps): ReactElement {
  const { id, index, top, tensor, headings, tail, isSelected, isCursor, onSelect } = props;
  return (
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/interactive-supports-focus -- the grid has the focus, and its keys
    <div
      id={id}
      className={`theta-row${isSelected ? ' theta-selected' : ''}${isCursor ? ' theta-cursor' : ''}`}
      role="row"
      aria-rowindex={index + 2}
      aria-selected={isSelected}
      data-name={tensor.name}
      style={{ transform: `translateY(${top}px)` }}
      onClick={() => onSelect(tensor.name)}
    >
      {headings.map(({ column, cell, full, isNumber }) => {
        const text = cell(tensor);
        return (
          <div
            key={column}
            role="gridcell"
            className={isNumber ? 'theta-number' : column === 'name' ? 'theta-name' : undefined}
            title={text && (full?.(tensor) ?? text)}
          >
            {column === 'status' ? (
              <StatusMark tensor={tensor} />
            ) : column === 'name' ? (
              <Name text={text} tail={tail} />
            ) : (
              text
            )}
          </div>
        );
      })}
    </div>
  );
});

/** A name that is cut, if at all, before its end: that tells more than its middle. */
function Name({ text, tail }: { text: string; tail: number }): ReactElement {
  const start = Math.max(0, text.length - tail);
  const dot = text.indexOf('.', start);
  const cut = dot > 0 && start > 0 ? dot : start;
  return (
    <>
      <span>{text.slice(0, cut)}</span>
      <span>{text.slice(cut)}</span>
    </>
  );
}

/** The letter of a status; a word for who cannot see it. */
export function StatusMark({ tensor: { status } }: { tensor: Tensor }): ReactElement {
  const word = STATUS_WORDS[status];
  return (
    <span className="theta-status" data-status={status} role="img" aria-label={word} title={word}>
      {status || '·'}
    </span>
  );
}
