/**
 * The head of the view: which file, between what, how much in all; and what steers everything below.
 */
import type { KeyboardEvent, ReactElement } from 'react';

import type { Diff, FileDiff } from '../api/types';
import { plain } from './format';
import { Message } from './message';
import { rangeText } from './norms';
import type { Session, Snapshot } from './session';
import { isUnmeasured } from './state';

interface Props {
  diff: Diff;
  data: FileDiff | null;
  snapshot: Snapshot;
  session: Session;
}

export function Summary({ diff, data, snapshot, session }: Props): ReactElement {
  const { state, measureFailure } = snapshot;
  const { share, dispatch } = session;
  const path = data?.path ?? state.file;
  const { old, new: now } = data ?? diff;
  return (
    <header className="theta-summary">
      <div className="theta-title">
        <h2>
          {diff.files.length > 1 ? (
            <select
              aria-label="Model"
              value={path}
              onChange={event => share({ file: event.target.value, selection: '' })}
            >
              {diff.files.map(file => (
                <option key={file.path} value={file.path}>
                  {plain(file.path)}
                </option>
              ))}
            </select>
          ) : (
            plain(path)
          )}
        </h2>
        <span className="theta-versions">
          {plain(old)} <span aria-label="to">→</span> {plain(now)}
        </span>
        {diff.subject && <q>{plain(diff.subject)}</q>}
      </div>
      {data && data.tensors.length > 0 && <Controls data={data} snapshot={snapshot} session={session} />}
      {data && (
        <p className="theta-facts">
          {data.facts.map(fact => (
            <span key={fact}>{plain(fact)}</span>
          ))}
        </p>
      )}
      {measureFailure && <Message {...measureFailure} />}
      {state.range && (
        <p>
          <span className="theta-chip">
            relative change {rangeText(state.range)}
            <button
              type="button"
              aria-label="Clear the range"
              title="Clear the range"
              onClick={() => dispatch({ type: 'brush', range: null })}
            >
              ×
            </button>
          </span>
        </p>
      )}
    </header>
  );
}

function Controls({ data, snapshot, session }: Omit<Props, 'diff'> & { data: FileDiff }): ReactElement {
  const { state, progress } = snapshot;
  const { share, measure, cancel } = session;
  const left = data.tensors.filter(isUnmeasured).length;
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Escape' && state.filter) {
      event.stopPropagation();
      share({ filter: '' });
    }
  };
  return (
    <div className="theta-controls">
      <label>
        <input
          type="checkbox"
          data-testid="theta-hide-unchanged"
          checked={state.hideUnchanged}
          onChange={event => share({ hideUnchanged: event.target.checked })}
        />
        hide unchanged
      </label>
      <input
        type="search"
        data-testid="theta-filter"
        placeholder="filter, or *.glob"
        aria-label="Filter tensors by name"
        spellCheck={false}
        value={state.filter}
        onChange={event => share({ filter: event.target.value })}
        onKeyDown={onKeyDown}
      />
      {progress ? (
        <span className="theta-progress">
          <progress value={progress.done} max={progress.total} aria-label="Measuring" />
          <span role="status">{`${progress.done} of ${progress.total}`}</span>
          <button type="button" data-testid="theta-measure" onClick={cancel}>
            Cancel
          </button>
        </span>
      ) : (
        <button
          type="button"
          data-testid="theta-measure"
          disabled={left === 0}
          title={
            left === 0
              ? 'Everything is measured'
              : `Read the weights of ${left} tensors, for exact numbers instead of ~`
          }
          onClick={() => void measure()}
        >
          Measure all
        </button>
      )}
    </div>
  );
}
