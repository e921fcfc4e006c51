/**
 * Every tensor of a model, a row each.
 */
import { memo, useMemo, type ReactElement } from 'react';

import type { ModelTensor } from '../../api/panel';
import { countText } from '../format';
import { Grid, HeadCell, Name, useGrid, type RowPlace } from '../grid';
import { useWords } from '../panel/actions';
import { WIDTHS, columnsOf, headOf, layoutOf, type Column, type Sort } from './columns';

interface Props {
  tensors: readonly ModelTensor[];
  /** Those of them that are shown, in order. */
  rows: readonly ModelTensor[];
  sort: Sort;
  onSort: (by: Column) => void;
}

export function ModelTable({ tensors, rows, sort, onSort }: Props): ReactElement {
  const words = useWords();
  const grid = useGrid(rows.length, WIDTHS);
  const { move, size } = grid;
  const columns = useMemo(() => columnsOf(tensors, size), [tensors, size]);
  const layout = useMemo(() => layoutOf(columns), [columns]);
  return (
    <Grid
      grid={grid}
      testId="theta-model-table"
      label={words.__('Tensors')}
      layout={layout}
      heading={
        <>
          <div role="columnheader" aria-label={words.__('Remarks')} />
          {columns.map(column => (
            <HeadCell
              key={column.id}
              {...headOf(column.id, words)}
              isNumber={column.isNumber}
              sorted={sort.by === column.id ? (sort.down ? 'descending' : 'ascending') : undefined}
              onSort={() => {
                onSort(column);
                move(0);
              }}
            />
          ))}
        </>
      }
      empty={words.__('No tensor is left by the filter.')}
      onKey={() => false}
      row={(index, place) => {
        const tensor = rows[index];
        return tensor && <Row key={tensor.name} {...place} tensor={tensor} columns={columns} isNarrow={size === 0} />;
      }}
    />
  );
}

interface RowProps extends RowPlace {
  tensor: ModelTensor;
  columns: readonly Column[];
  isNarrow: boolean;
}

const Row = memo(function Row({ id, top, index, isCursor, tensor, columns, isNarrow }: RowProps): ReactElement {
  const words = useWords();
  const { name, not_finite: broken } = tensor;
  const remark = broken > 0 ? words.__('%1 values are NaN or infinite', countText(broken)) : '';
  return (
    <div
      id={id}
      className={`theta-row${isCursor ? ' theta-cursor' : ''}`}
      role="row"
      aria-rowindex={index + 2}
      data-name={name}
      style={{ transform: `translateY(${top}px)` }}
    >
      <div role="gridcell">
        {remark && (
          <span className="theta-status" role="img" aria-label={remark} title={remark}>
            !
          </span>
        )}
      </div>
      {columns.map(column => {
        const text = column.text(tensor);
        return (
          <div
            key={column.id}
            role="gridcell"
            className={column.isNumber ? 'theta-number' : column.id === 'name' ? 'theta-name' : undefined}
            title={column.full(tensor)}
          >
            {column.id === 'name' ? <Name text={text} isNarrow={isNarrow} /> : text}
          </div>
        );
      })}
    </div>
  );
});
