/**
 * Models that are not as in HEAD: what to do with each, and the commit.
 */
import { useId, type KeyboardEvent, type ReactElement } from 'react';

import type { Change, Status } from '../../api/panel';
import { plain, relativeText, sizeText } from '../format';
import { useWords, type Actions } from './actions';
import { Miniature } from './miniature';
import { Tool, useRows } from './section';
import type { PanelSession } from './session';

interface Props {
  status: Status;
  message: string;
  isBusy: boolean;
  session: PanelSession;
  actions: Actions;
  clickAction: 'diff' | 'model';
}

export function Changes({ status, message, isBusy, session, actions, clickAction }: Props): ReactElement {
  const { __ } = useWords();
  // What is in conflict has a section of its own.
  const changes = status.changes.filter(({ state }) => state !== 'conflict');
  const groups = [
    { title: __('Staged'), of: changes.filter(({ staged }) => staged) },
    { title: __('Changed'), of: changes.filter(({ staged, state }) => !staged && state !== 'untracked') },
    { title: __('Not tracked'), of: changes.filter(({ state }) => state === 'untracked') }
  ].filter(({ of }) => of.length > 0);
  const rows = useRows(changes.length);
  let place = 0;
  return (
    <>
      {groups.length === 0 && (
        <p className="theta-hint">
          {status.commits ? __('Every tracked model is as in HEAD.') : __('Nothing is tracked yet.')}
        </p>
      )}
      {/* eslint-disable-next-line jsx-a11y/no-static-element-interactions -- keys go from row to row */}
      <div onKeyDown={rows.onKeyDown}>
        {groups.map(({ title, of }) => (
          <div key={title} role="group" aria-label={title}>
            <h4>
              {title}
              <span className="theta-count">{of.length}</span>
            </h4>
            {of.map(change => {
              const index = place++;
              const isAt = index === rows.at;
              return (
                <Row
                  key={change.path}
                  {...{ change, index, isAt, session, actions, clickAction }}
                  onFocus={() => rows.setAt(index)}
                />
              );
            })}
          </div>
        ))}
      </div>
      {status.merge === null && <CommitBox {...{ status, changes, message, isBusy, session }} />}
    </>
  );
}

interface RowProps {
  change: Change;
  index: number;
  isAt: boolean;
  session: PanelSession;
  actions: Actions;
  clickAction: 'diff' | 'model';
  onFocus: () => void;
}

function Row({ change, index, isAt, session, actions, clickAction, onFocus }: RowProps): ReactElement {
  const { __ } = useWords();
  const { path, letter, state, staged, miniature } = change;
  const isNew = state === 'untracked';
  const diff = (): void => actions.openDiff({ old: 'HEAD', new: '', path });
  const open = (): void => {
    if (isNew) {
      void session.track(path);
    } else if (state === 'deleted' || state === 'manifest') {
      void session.discard(path);
    } else if (clickAction === 'diff') {
      diff();
    } else {
      actions.openModel(path);
    }
  };
  const [name, folder] = parts(path);
  return (
    <div className="theta-line" data-testid="theta-change-row" data-path={path} data-row={index} onFocus={onFocus}>
      <button
        type="button"
        className="theta-line-main"
        data-main
        tabIndex={isAt ? 0 : -1}
        title={[path, change.summary].filter(Boolean).map(plain).join('\n')}
        onClick={open}
      >
        <span className={`theta-letter theta-letter-${state}`}>{letter}</span>
        <span className="theta-path">
          <span>{plain(name)}</span>
          {folder && <span className="theta-hint"> {plain(folder)}</span>}
        </span>
        <span className="theta-line-note">
          <Note change={change} />
        </span>
        {miniature && <Miniature of={miniature} />}
      </button>
      <span className="theta-line-tools">
        {isNew ? (
          <Tool icon="plus" label={__('Track %1', name)} isReached={isAt} onClick={() => void session.track(path)} />
        ) : (
          <>
            {state !== 'deleted' && state !== 'manifest' && (
              <Tool icon="diff" label={__('Show changes of %1', name)} isReached={isAt} onClick={diff} />
            )}
            {state !== 'new' && (
              <Tool
                icon="undo"
                label={__('Discard changes of %1', name)}
                isReached={isAt}
                onClick={() => void session.discard(path)}
              />
            )}
            {staged ? (
              <Tool
                icon="minus"
                label={__('Unstage %1', name)}
                isReached={isAt}
                onClick={() => void session.unstage([path])}
              />
            ) : (
              state !== 'manifest' && (
                <Tool
                  icon="plus"
                  label={__('Stage %1', name)}
                  isReached={isAt}
                  onClick={() => void session.stage([path])}
                />
              )
            )}
          </>
        )}
      </span>
    </div>
  );
}

/** How much, in a few letters; the rest is in the tooltip. */
function Note({ change }: { change: Change }): ReactElement {
  const { __ } = useWords();
  const { state, tensors, changed, relative, estimated, stores } = change;
  if (state === 'untracked') {
    return <>{__('track')}</>;
  }
  if (state === 'deleted') {
    return <>{__('deleted')}</>;
  }
  if (state === 'manifest') {
    return <>{__('weights not here')}</>;
  }
  if (state === 'new') {
    return <>{sizeText(stores)}</>;
  }
  return <>{changed > 0 && relative !== null ? relativeText(relative, estimated) : __('%1 of %2', changed, tensors)}</>;
}

interface CommitProps {
  status: Status;
  changes: readonly Change[];
  message: string;
  isBusy: boolean;
  session: PanelSession;
}

function CommitBox({ status, changes, message, isBusy, session }: CommitProps): ReactElement {
  const { __, _n } = useWords();
  const id = useId();
  const staged = changes.filter(change => change.staged);
  const wanted =
    staged.length > 0 ? staged : changes.filter(({ state }) => state !== 'untracked' && state !== 'manifest');
  const isReady = wanted.length + status.also_staged.length > 0;
  const [stores, size] = [sum(wanted, 'stores'), sum(wanted, 'size')];
  const commit = (): void => void session.commit();
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      event.stopPropagation();
      if (isReady && message.trim() && !isBusy) {
        commit();
      }
    }
  };
  return (
    <div className="theta-commit">
      <label className="theta-unseen" htmlFor={id}>
        {__('Message of the commit')}
      </label>
      <textarea
        id={id}
        data-testid="theta-commit-message"
        rows={2}
        value={message}
        placeholder={__('What is this version?')}
        onChange={event => session.setMessage(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <div className="theta-commit-line">
        <span className="theta-hint" data-testid="theta-stores">
          {isReady && (size > 0 ? __('will store %1 of %2', sizeText(stores), sizeText(size)) : __('ready to commit'))}
        </span>
        <button
          type="button"
          className="theta-accept"
          data-testid="theta-commit"
          disabled={!isReady || !message.trim() || isBusy}
          onClick={commit}
        >
          {staged.length > 0 ? __('Commit staged') : __('Commit all')}
        </button>
      </div>
      {status.also_staged.length > 0 && (
        <p className="theta-hint" title={status.also_staged.map(plain).join('\n')}>
          {_n('and %1 other staged file', 'and %1 other staged files', status.also_staged.length)}
        </p>
      )}
    </div>
  );
}

function sum(changes: readonly Change[], what: 'stores' | 'size'): number {
  return changes.reduce((total, change) => total + change[what], 0);
}

/** The name of a file, and its folder. */
export function parts(path: string): [name: string, folder: string] {
  const cut = path.lastIndexOf('/');
  return cut < 0 ? [path, ''] : [path.slice(cut + 1), path.slice(0, cut)];
}
