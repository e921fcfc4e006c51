/**
 * The whole view of a diff: overview first, then filter, then detail.
 *
 * It knows nothing of notebooks: it is given a session, which knows who answers and where its state is shared.
 */
import { useCallback, useDeferredValue, useMemo, useSyncExternalStore, type ReactElement } from 'react';

import type { FileDiff } from '../api/types';
import { plain } from './format';
import { Frame } from './frame';
import { Heatmap } from './heatmap';
import { Norms } from './norms';
import type { Session, Snapshot } from './session';
import { isLit } from './state';
import { Summary } from './summary';
import { Table } from './table';
import { TensorDetail } from './tensor';

export function DiffView({ session }: { session: Session }): ReactElement {
  const snapshot = useSyncExternalStore(session.subscribe, session.get);
  const { diff, failure, state } = snapshot;
  const isDone = state.data !== null || diff?.files.length === 0;
  return (
    <Frame testId="theta-diff" isDone={isDone} failure={failure}>
      {diff && diff.files.length > 0 && <Summary diff={diff} data={state.data} snapshot={snapshot} session={session} />}
      {diff?.files.length === 0 && <p>No tracked model differs.</p>}
      {state.data && <Body data={state.data} snapshot={snapshot} session={session} />}
    </Frame>
  );
}

function Body({ data, snapshot, session }: { data: FileDiff; snapshot: Snapshot; session: Session }): ReactElement {
  const { state, selected: detail } = snapshot;
  const { dispatch, share } = session;
  const { filter, range, hideUnchanged, sort, order, selection } = state;
  const { tensors, heatmap, norms } = data;
  const lit = useMemo(() => isLit(filter, range), [filter, range]);
  const ordered = useMemo(() => order.flatMap(place => tensors[place] ?? []), [tensors, order]);
  const rows = useMemo(
    () => ordered.filter(tensor => (!hideUnchanged || tensor.status) && (!lit || lit(tensor))),
    [ordered, hideUnchanged, lit]
  );
  const selected = useMemo(() => tensors.find(({ name }) => name === selection), [tensors, selection]);
  const onSelect = useCallback((name: string) => share({ selection: name }), [share]);
  // Large pictures take a while: whoever types is not kept waiting for them.
  const litLater = useDeferredValue(lit);
  const notes = data.notes.map(note => (
    <p key={note} className="theta-hint">
      {plain(note)}
    </p>
  ));
  if (!tensors.length) {
    return <>{notes}</>;
  }
  const hasFigures = Boolean(heatmap ?? norms);
  const shared = { tensors, selected, isLit: litLater, onSelect };
  return (
    <>
      <div className={hasFigures ? 'theta-columns' : 'theta-alone'}>
        {hasFigures && (
          <div className="theta-overview">
            {heatmap && <Heatmap figure={heatmap} {...shared} />}
            {norms && (
              <Norms figure={norms} {...shared} range={range} onBrush={range => dispatch({ type: 'brush', range })} />
            )}
          </div>
        )}
        <div className={`theta-detail${selected ? ' theta-chosen' : ''}`}>
          <TensorDetail
            tensor={selected}
            detail={detail}
            hint={
              hasFigures
                ? 'Click a cell, a bar or a row to see what changed in a tensor.'
                : 'Click a row to see a tensor.'
            }
          />
        </div>
      </div>
      <Table
        tensors={tensors}
        rows={rows}
        sort={sort}
        selection={selection}
        onSort={by => dispatch({ type: 'sort', by })}
        onSelect={onSelect}
      />
      {notes}
    </>
  );
}
