/**
 * The head of a merge: what is merged into what, how far it has come, and what steers the table below.
 */
import type { KeyboardEvent, ReactElement } from 'react';

import type { Class, MergeFile, MergeState, Version } from '../../api/merge';
import { plain } from '../format';
import { Shape, type VersionName } from '../versions';
import type { MergeSession, Snapshot } from './session';
import { plural } from './words';

interface Props {
  merge: MergeState;
  snapshot: Snapshot;
  session: MergeSession;
}

export function Header({ merge, snapshot, session }: Props): ReactElement {
  const file = merge.files.find(({ path }) => path === snapshot.path);
  return (
    <header className="theta-summary">
      <div className="theta-title">
        <h2>{plain(merge.title)}</h2>
      </div>
      <div className="theta-sides">
        <Side side="ours" version={merge.ours} />
        <Side side="theirs" version={merge.theirs} />
        {merge.base && <Side side="base" version={merge.base} />}
      </div>
      {file && <Progress merge={merge} file={file} snapshot={snapshot} session={session} />}
      {file && !file.whole && <Controls snapshot={snapshot} session={session} />}
      {file?.notes.map(note => (
        <p key={note} className="theta-hint">
          {plain(note)}
        </p>
      ))}
    </header>
  );
}

function Side({ side, version: { name, subject, commit } }: { side: VersionName; version: Version }): ReactElement {
  return (
    <span className={`theta-side theta-${side}`} title={commit}>
      <Shape version={side} /> {side} <strong>{plain(name)}</strong>
      {subject && side !== 'base' && <q>{plain(subject)}</q>}
    </span>
  );
}

function Progress({ merge, file, snapshot, session }: Props & { file: MergeFile }): ReactElement {
  const settled = (Object.entries(file.settled) as [Class, number][]).filter(([, count]) => count > 0);
  const { settled: shown } = snapshot;
  return (
    <p className="theta-facts">
      {merge.files.length > 1 ? (
        <select
          aria-label="Model"
          data-testid="theta-file"
          value={file.path}
          onChange={event => session.share({ file: event.target.value, selection: [] })}
        >
          {merge.files.map(({ path, left }) => (
            <option key={path} value={path}>
              {plain(path) + (left ? ` (${left} left)` : ' ✓')}
            </option>
          ))}
        </select>
      ) : (
        <strong>{plain(file.path)}</strong>
      )}
      <span data-testid="theta-left" role="status">
        {file.left ? (
          <>
            <strong>{plural(file.left, 'conflict')}</strong> left of {file.conflicts}
          </>
        ) : file.conflicts ? (
          <>
            <span className="theta-result">✓</span>{' '}
            {file.conflicts === 1 ? 'the conflict is decided' : `all ${file.conflicts} conflicts are decided`}
          </>
        ) : (
          'no conflicts'
        )}
      </span>
      {settled.length > 0 && (
        <span>
          settled by themselves: {settled.map(([name, count]) => `${count} ${name}`).join(', ')}{' '}
          <button
            type="button"
            className="theta-link"
            data-testid="theta-settled"
            aria-pressed={shown !== null}
            onClick={() => void session.toggleSettled()}
          >
            {shown ? 'hide' : 'show'}
          </button>
        </span>
      )}
    </p>
  );
}

function Controls({ snapshot, session }: Omit<Props, 'merge'>): ReactElement {
  const { filter, leftOnly, merge } = snapshot;
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Escape' && filter) {
      event.stopPropagation();
      session.share({ filter: '' });
    }
  };
  const files = (merge?.files.length ?? 0) > 1 ? ', in every file' : '';
  return (
    <div className="theta-controls theta-wide">
      <input
        type="search"
        data-testid="theta-filter"
        placeholder="filter, or *.glob"
        aria-label="Filter tensors by name"
        spellCheck={false}
        value={filter}
        onChange={event => session.share({ filter: event.target.value })}
        onKeyDown={onKeyDown}
      />
      <label>
        <input
          type="checkbox"
          data-testid="theta-left-only"
          checked={leftOnly}
          onChange={event => session.look({ leftOnly: event.target.checked })}
        />
        only what is left
      </label>
      <span className="theta-space" />
      {(['ours', 'theirs'] as const).map(side => (
        <button
          key={side}
          type="button"
          data-testid={`theta-all-${side}`}
          title={`Take ${side} for every conflict${files}, whatever was chosen before; undo takes that back`}
          onClick={() => void session.apply(['*'], { strategy: side, parameters: {} }, '')}
        >
          <Shape version={side} /> all {side}
        </button>
      ))}
      <button
        type="button"
        data-testid="theta-undo"
        disabled={!merge?.can_undo}
        title="Take the last choice back (Ctrl+Z)"
        onClick={() => void session.undo()}
      >
        Undo
      </button>
    </div>
  );
}
