/**
 * The conflicts of a file, grouped by module: a row for each tensor, and one for each module above its own.
 *
 * Click, Ctrl and Shift select as in every list; so does the keyboard: Enter selects one row, the space bar one more,
 * Shift and an arrow a range, Ctrl+A all that are shown. Left and right fold modules, Tab goes on to the strategy of
 * the row that the cursor is on.
 */
import { memo, useCallback, useEffect, useMemo, useRef } from 'react';
import type { KeyboardEvent, MouseEvent, ReactElement } from 'react';

import type { Row, Strategy } from '../../api/merge';
import { plain } from '../format';
import { Grid, HeadCell, Name, useGrid, type RowPlace } from '../grid';
import { Mark } from '../findings';
import { headingsOf, layoutOf, scaleOf, type Heading } from './columns';
import { StrategyChooser, isComplete } from './controls';
import type { Column, Draft, MergeSession, Snapshot } from './session';
import { isConflict, type GroupLine, type Line, type RowLine } from './tree';
import { CLASS_LETTERS, givenOf, givenText, shapesText } from './words';

/** Pixels, as the style sheet has them. */
const HEIGHT = 28;
/** From these on there is room for all columns, and for what is given to strategies. */
const WIDTHS = [600, 800];

interface Props {
  rows: readonly Row[];
  lines: readonly Line[];
  snapshot: Snapshot;
  session: MergeSession;
}

export function MergeTable({ rows, lines, snapshot, session }: Props): ReactElement {
  const { strategies, selection, current, sort, folded } = snapshot;
  const grid = useGrid(lines.length, WIDTHS, HEIGHT);
  const { at, size, move } = grid;
  const headings = useMemo(() => headingsOf(rows, size === 0), [rows, size]);
  const layout = useMemo(() => layoutOf(headings, size === WIDTHS.length), [headings, size]);
  const scale = useMemo(() => scaleOf(rows), [rows]);
  const chosen = useMemo(() => new Set(selection), [selection]);
  const shown = useMemo(
    () => lines.flatMap(line => (line.type === 'row' && isConflict(line.row) ? [line.row.name] : [])),
    [lines]
  );

  // Whoever selects, the row comes into view.
  const index = useMemo(() => lines.findIndex(line => keyOf(line) === current), [lines, current]);
  const last = useRef('');
  useEffect(() => {
    if (index >= 0 && last.current !== current) {
      move(index);
    }
    last.current = index >= 0 ? current : '';
  }, [index, current, move]);

  // Where a range starts.
  const anchor = useRef('');
  const fold = (prefix: string, isFolded: boolean): void => {
    session.look({
      folded: new Set(isFolded ? [...folded, prefix] : [...folded].filter(other => other !== prefix))
    });
  };
  const range = (from: number, to: number): void => {
    const names = lines.slice(Math.min(from, to), Math.max(from, to) + 1).flatMap(namesUnder);
    const line = lines[to];
    session.select([...new Set(names)], line?.type === 'row' ? line.row.name : current);
  };
  const toggle = (line: Line): void => {
    const names = line.type === 'row' ? [line.row.name] : namesIn(line);
    const isAll = names.every(name => chosen.has(name));
    const others = selection.filter(name => !names.includes(name));
    session.select(isAll ? others : [...others, ...names], isAll ? others.at(-1) : names.at(-1));
  };
  /** Click and Enter, with or without other keys. */
  const choose = (index: number, event: MouseEvent | KeyboardEvent): void => {
    const line = lines[index];
    if (!line) {
      return;
    }
    move(index);
    if (event.shiftKey) {
      const from = lines.findIndex(other => keyOf(other) === anchor.current);
      range(from < 0 ? index : from, index);
      return;
    }
    anchor.current = keyOf(line);
    if (event.ctrlKey || event.metaKey) {
      toggle(line);
    } else if (line.type === 'group') {
      fold(line.branch.prefix, !line.isFolded);
    } else {
      session.select([line.row.name]);
    }
  };
  const onMove = (event: KeyboardEvent, to: number, from: number): void => {
    if (event.shiftKey) {
      const start = lines.findIndex(line => keyOf(line) === anchor.current);
      anchor.current = start < 0 ? keyOf(lines[from]) : anchor.current;
      range(start < 0 ? from : start, to);
    } else {
      anchor.current = keyOf(lines[to]);
    }
  };
  const onKey = (event: KeyboardEvent): boolean => {
    const line = lines[at];
    const isAll = event.key === 'a' && (event.ctrlKey || event.metaKey);
    if (isAll) {
      session.select(shown, shown.includes(current) ? current : shown[0]);
    } else if (event.key === 'Escape' && selection.length > 1) {
      session.select(current ? [current] : []);
    } else if (!line) {
      return false;
    } else if (event.key === 'Enter') {
      choose(at, event);
    } else if (event.key === ' ') {
      anchor.current = keyOf(line);
      toggle(line);
    } else if (event.key === 'ArrowRight') {
      if (line.type === 'group' && line.isFolded) {
        fold(line.branch.prefix, false);
      } else if (line.type === 'group') {
        move(at + 1);
      }
    } else if (event.key === 'ArrowLeft') {
      if (line.type === 'group' && !line.isFolded) {
        fold(line.branch.prefix, true);
      } else {
        let above = at;
        while (above > 0 && (lines[above]?.depth ?? 0) >= line.depth) {
          above--;
        }
        move(above);
      }
    } else {
      return false;
    }
    return true;
  };

  // Rows are drawn anew only when they change: what they call stays the same.
  const calls = useRef({ choose, session, strategies });
  useEffect(() => {
    calls.current = { choose, session, strategies };
  });
  const onClick = useCallback((index: number, event: MouseEvent) => calls.current.choose(index, event), []);
  const onStrategy = useCallback((line: Line, strategy: string) => {
    const { session, strategies } = calls.current;
    const draft: Draft = { strategy, parameters: {} };
    const [glob, name] = line.type === 'row' ? [line.row.glob, line.row.name] : [line.branch.glob, ''];
    if (isComplete(draft, strategies)) {
      void session.apply([glob], draft);
      return;
    }
    // What else it needs can be given beside the table.
    session.select([name || (line.type === 'group' ? (namesIn(line)[0] ?? '') : '')]);
    session.look({ draft, scope: name ? 'tensor' : 'module' });
  }, []);

  const sortBy = (by: Column): void => {
    session.look({ sort: { by, down: sort.by === by ? !sort.down && by !== 'name' : by !== 'name' } });
    move(0);
  };
  const head = (column: Column, text: string, title: string, isNumber = false): ReactElement => (
    <HeadCell
      key={column}
      {...{ text, title, isNumber }}
      sorted={sort.by === column ? (sort.down ? 'descending' : 'ascending') : undefined}
      onSort={() => sortBy(column)}
    />
  );
  return (
    <Grid
      grid={grid}
      testId="theta-table"
      label="Conflicts. Enter selects, space adds, left and right fold, Tab goes to the strategy."
      role="treegrid"
      layout={layout}
      heading={
        <>
          <div role="columnheader" aria-label="What happened" />
          {head('name', 'tensor', 'Name of the tensor, by module')}
          {headings.map(({ column, text, title }) => head(column, text, title, true))}
          <div role="columnheader">strategy</div>
        </>
      }
      empty="No conflict is left by the filter."
      onMove={onMove}
      onKey={onKey}
      row={(index, place) => {
        const line = lines[index];
        const shared = { ...place, strategies, headings, size, onClick, onStrategy };
        return line?.type === 'group' ? (
          <GroupRow
            key={keyOf(line)}
            {...shared}
            line={line}
            isSelected={line.rows.length > 0 && line.rows.every(({ name }) => chosen.has(name))}
          />
        ) : (
          line && (
            <TensorRow
              key={keyOf(line)}
              {...shared}
              row={line.row}
              label={line.label}
              depth={line.depth}
              scale={scale}
              isSelected={chosen.has(line.row.name) || line.row.name === current}
              isCurrent={line.row.name === current}
            />
          )
        );
      }}
    />
  );
}

/** No name begins with this. */
function keyOf(line: Line | undefined): string {
  return line ? (line.type === 'row' ? line.row.name : `\0${line.branch.prefix}`) : '';
}

/** The conflicts that a line alone stands for: those of a module only while it is folded. */
function namesUnder(line: Line): string[] {
  if (line.type === 'group') {
    return line.isFolded ? namesIn(line) : [];
  }
  return isConflict(line.row) ? [line.row.name] : [];
}

function namesIn({ rows }: GroupLine): string[] {
  return rows.map(({ name }) => name);
}

interface LineProps extends RowPlace {
  strategies: readonly Strategy[];
  headings: readonly Heading[];
  size: number;
  isSelected: boolean;
  onClick: (index: number, event: MouseEvent) => void;
  onStrategy: (line: Line, strategy: string) => void;
}

interface TensorProps extends LineProps {
  row: Row;
  label: string;
  depth: number;
  scale: (value: number | null) => number;
  isCurrent: boolean;
}

const TensorRow = memo(function TensorRow(props: TensorProps): ReactElement {
  const { row, label, depth, headings, scale, strategies, size, isSelected, isCurrent, isCursor } = props;
  const { onClick, onStrategy, index, id, top } = props;
  const shapes = shapesText(row);
  const line: RowLine = { type: 'row', row, depth, label };
  const given = givenText(
    givenOf(
      strategies.find(({ name }) => name === row.strategy),
      row.parameters
    )
  );
  return (
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/interactive-supports-focus -- the grid has the focus, and its keys
    <div
      id={id}
      className={classOf(isSelected, isCursor, isCurrent ? ' theta-current' : '')}
      role="row"
      aria-rowindex={index + 2}
      aria-level={depth + 1}
      aria-selected={isSelected}
      data-name={row.name}
      data-strategy={row.strategy}
      style={{ transform: `translateY(${top}px)` }}
      onClick={event => onClick(index, event)}
    >
      <div role="gridcell">
        <ClassMark row={row} />
      </div>
      <div role="gridcell" className="theta-name" title={nameTitle(row)} style={{ paddingInlineStart: indent(depth) }}>
        <Name text={plain(label)} isNarrow={size < WIDTHS.length} />
        {shapes && <span className="theta-count theta-extra">{shapes}</span>}
      </div>
      {headings.map(({ column, value, format, side }) => {
        const number = value(row);
        const title = number === null ? undefined : (row.estimated ? 'estimated: ' : '') + String(number);
        return (
          <div key={column} role="gridcell" className="theta-number" title={title}>
            {side && <span className={`theta-bar theta-${side}`} style={{ width: `${72 * scale(number)}px` }} />}
            {number !== null && <span>{format(number, row.estimated)}</span>}
          </div>
        );
      })}
      <div role="gridcell" className="theta-choice">
        {isConflict(row) ? (
          <>
            <StrategyChooser
              label={`Strategy of ${plain(row.name)}`}
              strategies={strategies}
              value={row.strategy}
              none="undecided"
              refusals={row.refusals}
              isPlain
              tabIndex={isCursor ? 0 : -1}
              onChoose={strategy => onStrategy(line, strategy)}
            />
            {size === WIDTHS.length && (
              <span className="theta-given" title={given}>
                {plain(given)}
              </span>
            )}
          </>
        ) : (
          <span className="theta-hint">{row.class}</span>
        )}
      </div>
    </div>
  );
});

interface GroupProps extends LineProps {
  line: GroupLine;
}

const GroupRow = memo(function GroupRow(props: GroupProps): ReactElement {
  const { line, strategies, headings, size, isSelected, isCursor, onClick, onStrategy, index, id, top } = props;
  const { branch, depth, rows, shown, isFolded } = line;
  const left = rows.filter(({ strategy }) => !strategy).length;
  const total = branch.names.length;
  const chosen = new Set(rows.map(({ strategy }) => strategy));
  const value = chosen.size === 1 ? (rows[0]?.strategy ?? '') : '';
  return (
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/interactive-supports-focus -- the grid has the focus, and its keys
    <div
      id={id}
      className={classOf(isSelected, isCursor, ' theta-group')}
      role="row"
      aria-rowindex={index + 2}
      aria-level={depth + 1}
      aria-expanded={!isFolded}
      aria-selected={isSelected}
      data-group={branch.prefix}
      style={{ transform: `translateY(${top}px)` }}
      onClick={event => onClick(index, event)}
    >
      <div role="gridcell" />
      <div role="gridcell" className="theta-name" style={{ paddingInlineStart: indent(depth) }} title={branch.glob}>
        <span className="theta-fold" aria-hidden="true">
          {isFolded ? '▸' : '▾'}
        </span>
        <Name text={plain(branch.prefix.slice(0, -1))} isNarrow={size < WIDTHS.length} />
        <span className="theta-count">{shown < total ? `${shown} of ${total}` : total}</span>
      </div>
      <div role="gridcell" className="theta-hint" style={{ gridColumn: `span ${headings.length}` }}>
        {left ? `${left} left` : rows.length ? '✓' : ''}
      </div>
      <div role="gridcell" className="theta-choice">
        {rows.length > 0 && (
          <StrategyChooser
            label={`Strategy of all in ${plain(branch.prefix.slice(0, -1))}`}
            strategies={strategies}
            value={value}
            none={chosen.size > 1 ? 'mixed' : 'undecided'}
            refusals={refusalsOf(rows)}
            isPlain
            tabIndex={isCursor ? 0 : -1}
            onChoose={strategy => onStrategy(line, strategy)}
          />
        )}
      </div>
    </div>
  );
});

/** What applies to none of them. */
export function refusalsOf(rows: readonly Row[]): Record<string, string> {
  const [first, ...others] = rows;
  return Object.fromEntries(
    Object.entries(first?.refusals ?? {}).filter(([name]) => others.every(({ refusals }) => refusals[name]))
  );
}

function classOf(isSelected: boolean, isCursor: boolean, more: string): string {
  return `theta-row${isSelected ? ' theta-selected' : ''}${isCursor ? ' theta-cursor' : ''}${more}`;
}

function indent(depth: number): string {
  return `${8 + 12 * depth}px`;
}

function nameTitle({ name, remark }: Row): string {
  return plain(name) + (remark ? `\n${plain(remark)}` : '');
}

export function ClassMark({ row }: { row: Row }): ReactElement {
  return <Mark letter={CLASS_LETTERS[row.class]} word={row.class} />;
}
