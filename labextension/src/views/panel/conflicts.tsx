/**
 * What stopped for somebody to decide: shown only while there is such a thing.
 */
import type { ReactElement } from 'react';

import type { InProgress } from '../../api/panel';
import { plain } from '../format';
import { useWords, type Actions } from './actions';
import { parts } from './changes';
import { useRows } from './section';
import type { PanelSession } from './session';

interface Props {
  merge: InProgress;
  isBusy: boolean;
  session: PanelSession;
  actions: Actions;
}

export function Conflicts({ merge, isBusy, session, actions }: Props): ReactElement {
  const { __, _n } = useWords();
  const { title, files, others } = merge;
  const rows = useRows(files.length);
  const left = files.reduce((total, file) => total + file.left, 0);
  return (
    <>
      <p className="theta-wrap">{plain(title)}</p>
      {/* eslint-disable-next-line jsx-a11y/no-static-element-interactions -- keys go from row to row */}
      <div onKeyDown={rows.onKeyDown}>
        {files.map(({ path, conflicts, left }, index) => (
          <div
            key={path}
            className="theta-line"
            data-testid="theta-conflict-row"
            data-row={index}
            onFocus={() => rows.setAt(index)}
          >
            <button
              type="button"
              className="theta-line-main"
              data-main
              tabIndex={index === rows.at ? 0 : -1}
              title={plain(path)}
              onClick={() => actions.openMerge(path)}
            >
              <span className="theta-letter theta-letter-conflict">U</span>
              <span className="theta-path">{plain(parts(path)[0])}</span>
              <span className="theta-line-note">{left ? __('%1 left of %2', left, conflicts) : __('all decided')}</span>
            </button>
          </div>
        ))}
      </div>
      {others.length > 0 && (
        <p className="theta-hint theta-wrap">
          {__('Also in conflict; edit and stage with Git:')} {others.map(plain).join(', ')}
        </p>
      )}
      <div className="theta-buttons">
        {files.length > 0 && (
          <button
            type="button"
            className="theta-accept"
            data-testid="theta-resolve"
            onClick={() => actions.openMerge()}
          >
            {left ? __('Resolve') : __('Look again')}
          </button>
        )}
        <button
          type="button"
          data-testid="theta-continue"
          disabled={left > 0 || others.length > 0 || isBusy}
          title={
            left > 0
              ? _n('%1 tensor is still to be decided', '%1 tensors are still to be decided', left)
              : __('Compute what was decided, and commit')
          }
          onClick={() => void session.continueMerge()}
        >
          {__('Continue')}
        </button>
        <button type="button" data-testid="theta-abort" disabled={isBusy} onClick={() => void session.abortMerge()}>
          {__('Abort')}
        </button>
      </div>
    </>
  );
}
