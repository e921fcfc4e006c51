/**
 * The whole view of a merge: what settled itself, what is left, one tensor closely, and the way to the end.
 */
import { useMemo, useSyncExternalStore, type KeyboardEvent, type ReactElement } from 'react';

import type { MergeFile, MergeState, Row } from '../../api/merge';
import { plain } from '../format';
import { Frame } from '../frame';
import { literal, matcher } from '../globs';
import { Message } from '../message';
import { Shape } from '../versions';
import { sorted } from './columns';
import { Finish } from './finish';
import { Header } from './header';
import { Panel, SelectionBar } from './panel';
import { Rules } from './rules';
import type { MergeSession, Snapshot } from './session';
import { MergeTable } from './table';
import { STRUCTURE, isConflict, linesOf, type Line } from './tree';

export function MergeView({ session }: { session: MergeSession }): ReactElement {
  const snapshot = useSyncExternalStore(session.subscribe, session.get);
  const { merge, failure, path } = snapshot;
  const isOver = merge?.kind === '';
  const onKeyDown = (event: KeyboardEvent): void => {
    const isText = event.target instanceof HTMLElement && event.target.matches('textarea, input:not([type=checkbox])');
    if (event.key === 'z' && (event.ctrlKey || event.metaKey) && !event.shiftKey && !isText) {
      event.preventDefault();
      event.stopPropagation();
      void session.undo();
    }
  };
  return (
    <Frame
      testId="theta-merge"
      isDone={merge !== null && (isOver || !merge.files.length || path !== '')}
      failure={failure}
      onKeyDown={onKeyDown}
    >
      {merge && (isOver ? <Over merge={merge} /> : <Body merge={merge} snapshot={snapshot} session={session} />)}
    </Frame>
  );
}

/** There is nothing to do, or no longer. */
function Over({ merge: { title, outcome } }: { merge: MergeState }): ReactElement {
  return (
    <div className="theta-over" data-testid="theta-outcome">
      {outcome && title && <h2>{plain(title)}</h2>}
      <p>
        {outcome && <span className="theta-result">✓ </span>}
        {plain(outcome || title || 'nothing is being merged')}
      </p>
    </div>
  );
}

interface BodyProps {
  merge: MergeState;
  snapshot: Snapshot;
  session: MergeSession;
}

function Body({ merge, snapshot, session }: BodyProps): ReactElement {
  const { problem, path, conflicts } = snapshot;
  const file = merge.files.find(file => file.path === path);
  const counts = useMemo(() => {
    const counts = new Map<number, number>();
    for (const { rule } of conflicts) {
      if (rule !== null) {
        counts.set(rule, (counts.get(rule) ?? 0) + 1);
      }
    }
    return counts;
  }, [conflicts]);
  return (
    <>
      <Header merge={merge} snapshot={snapshot} session={session} />
      {merge.outcome && <p className="theta-notice">{plain(merge.outcome)}</p>}
      {problem && !problem.isOfEnd && <Message {...problem} />}
      {file?.whole && <Whole file={file} merge={merge} rows={conflicts} session={session} />}
      {file && !file.whole && <Tensors snapshot={snapshot} session={session} />}
      <Rules merge={merge} counts={counts} session={session} />
      <Finish merge={merge} snapshot={snapshot} session={session} />
    </>
  );
}

/** The conflicts, and one of them closely. */
function Tensors({ snapshot, session }: Omit<BodyProps, 'merge'>): ReactElement {
  const { conflicts, settled, tree, filter, leftOnly, folded, sort, selection, current } = snapshot;
  const rows = useMemo(() => [...conflicts, ...(settled ?? [])], [conflicts, settled]);
  const byName = useMemo(() => new Map(rows.map(row => [row.name, row])), [rows]);
  const lines = useMemo((): Line[] => {
    const matches = matcher(filter);
    const isLit = (row: Row): boolean => matches(row.name) && !(leftOnly && (row.strategy || !isConflict(row)));
    return sort.by === 'name'
      ? linesOf(tree, byName, isLit, folded)
      : sorted(rows.filter(isLit), sort).map(row => ({ type: 'row', row, depth: 0, label: row.name }));
  }, [tree, rows, byName, filter, leftOnly, folded, sort]);
  return (
    <div className="theta-columns theta-merge">
      <div className="theta-overview">
        <MergeTable rows={rows} lines={lines} snapshot={snapshot} session={session} />
        {selection.length > 1 && <SelectionBar snapshot={snapshot} session={session} />}
      </div>
      <div className={`theta-detail${current ? ' theta-chosen' : ''}`}>
        <Panel row={byName.get(current)} snapshot={snapshot} session={session} />
      </div>
    </div>
  );
}

interface WholeProps {
  file: MergeFile;
  merge: MergeState;
  rows: readonly Row[];
  session: MergeSession;
}

/** Nothing in the file can be mixed: it is one side's, or the other's. */
function Whole({ file, merge, rows, session }: WholeProps): ReactElement {
  const structure = rows.find(({ name }) => name === STRUCTURE) ?? rows[0];
  return (
    <div className="theta-controls theta-whole" data-testid="theta-whole" role="group" aria-label="Take the file of">
      Nothing in this file can be mixed. Take the whole of it from
      {(['ours', 'theirs'] as const).map(side => {
        const isTaken = file.left === 0 && structure?.strategy === side;
        return (
          <button
            key={side}
            type="button"
            className={isTaken ? 'theta-taken' : undefined}
            aria-pressed={isTaken}
            onClick={() => void session.apply(['*'], { strategy: side, parameters: {} }, literal(file.path))}
          >
            <Shape version={side} /> {side}, {plain(merge[side].name)}
            {isTaken && ' ✓'}
          </button>
        );
      })}
    </div>
  );
}
