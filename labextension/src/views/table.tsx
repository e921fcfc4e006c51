/**
 * Every tensor of a diff, a row each; Enter selects. Sorting and filtering happen before, in `state.ts`.
 */
import { memo, useEffect, useMemo, useRef } from 'react';
import type { KeyboardEvent, ReactElement } from 'react';

import type { Tensor } from '../api/types';
import { WIDTHS, headingsOf, layoutOf, type Heading } from './columns';
import { Mark } from './findings';
import { STATUS_WORDS } from './format';
import { Grid, HeadCell, Name, useGrid, type RowPlace } from './grid';
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

export function Table({ tensors, rows, sort, selection, onSort, onSelect }: Props): ReactElement {
  const grid = useGrid(rows.length, WIDTHS);
  const { at, move, isInSight, size } = grid;
  const isNarrow = size < WIDTHS.length;
  const headings = useMemo(() => headingsOf(tensors, size), [tensors, size]);
  const layout = useMemo(() => layoutOf(headings, tensors), [headings, tensors]);

  // Whoever selects, the row comes into view. An exact number may bring other rows into a range, or out of it, and it
  // stays in view; but the table does not jump to it from elsewhere, or because somebody sorts.
  const index = useMemo(() => rows.findIndex(({ name }) => name === selection), [rows, selection]);
  const last = useRef({ selection: '', index: -1, tensors });
  useEffect(() => {
    const was = last.current;
    last.current = { selection, index, tensors };
    const isMoved = was.tensors !== tensors && isInSight(was.index);
    if (index >= 0 && (was.selection !== selection || isMoved)) {
      move(index);
    }
  }, [selection, index, tensors, move, isInSight]);

  const onKey = (event: KeyboardEvent): boolean => {
    const row = rows[at];
    if ((event.key !== 'Enter' && event.key !== ' ') || !row) {
      return false;
    }
    onSelect(row.name);
    return true;
  };

  return (
    <Grid
      grid={grid}
      testId="theta-table"
      label="Tensors"
      layout={layout}
      heading={headings.map(({ column, text, title, isNumber }) => (
        <HeadCell
          key={column}
          text={text || '±'}
          title={title}
          isNumber={isNumber}
          sorted={sort.by === column ? (sort.down ? 'descending' : 'ascending') : undefined}
          onSort={() => {
            onSort(column);
            // The top is what one sorts for.
            move(0);
          }}
        />
      ))}
      empty="No tensor is left by the filter."
      onKey={onKey}
      row={(index, place) => {
        const tensor = rows[index];
        return (
          tensor && (
            <Row
              key={tensor.name}
              {...place}
              tensor={tensor}
              headings={headings}
              isNarrow={isNarrow}
              isSelected={tensor.name === selection}
              onSelect={onSelect}
            />
          )
        );
      }}
    />
  );
}

interface RowProps extends RowPlace {
  tensor: Tensor;
  headings: readonly Heading[];
  isNarrow: boolean;
  isSelected: boolean;
  onSelect: (name: string) => void;
}

const Row = memo(function Row(props: RowProps): ReactElement {
  const { id, index, top, tensor, headings, isNarrow, isSelected, isCursor, onSelect } = props;
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
              <Name text={text} isNarrow={isNarrow} />
            ) : (
              text
            )}
          </div>
        );
      })}
    </div>
  );
});

/** The letter of a status; a word for who cannot see it. */
export function StatusMark({ tensor: { status } }: { tensor: Tensor }): ReactElement {
  return <Mark letter={status} word={STATUS_WORDS[status]} />;
}
