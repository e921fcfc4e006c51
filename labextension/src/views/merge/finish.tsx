/**
 * The end of a merge: what else is in conflict, the message, and the two ways out.
 */
import { useState, type ReactElement } from 'react';

import type { MergeState } from '../../api/merge';
import { plain, sizeText } from '../format';
import { Message } from '../message';
import type { MergeSession, Snapshot } from './session';
import { hindrance } from './words';

interface Props {
  merge: MergeState;
  snapshot: Snapshot;
  session: MergeSession;
}

export function Finish({ merge, snapshot, session }: Props): ReactElement {
  const { finishing, problem } = snapshot;
  const [written, setWritten] = useState<string | null>(null);
  const message = written ?? merge.message;
  const reason = hindrance(merge) || (merge.message && !message.trim() ? 'the message is empty' : '');
  const [isAsking, setAsking] = useState(false);
  const verb = merge.kind === 'stash' ? 'the stash' : `the ${merge.kind}`;
  return (
    <footer className="theta-finish" data-testid="theta-end">
      {merge.others.length > 0 && (
        <div className="theta-others" data-testid="theta-others">
          <p>Also in conflict, to be resolved in an editor and told to git add:</p>
          {merge.others.map(path => (
            <code key={path}>{plain(path)}</code>
          ))}
        </div>
      )}
      {merge.message && (
        <textarea
          aria-label="Message of the commit"
          data-testid="theta-message"
          rows={Math.min(6, message.split('\n').length + 1)}
          value={message}
          disabled={finishing !== null}
          onChange={event => setWritten(event.target.value)}
        />
      )}
      {problem?.isOfEnd && <Message {...problem} />}
      <div className="theta-controls">
        {finishing ? (
          <span className="theta-progress">
            {finishing.total > 0 ? (
              <progress value={finishing.done} max={finishing.total} aria-label="Finishing" />
            ) : (
              <progress aria-label="Finishing" />
            )}
            <span role="status">
              {plain(finishing.what) || 'finishing'}
              {finishing.total > 0 && ` ${sizeText(finishing.done)} of ${sizeText(finishing.total)}`}
            </span>
            <button type="button" data-testid="theta-cancel" onClick={session.cancel}>
              Cancel
            </button>
          </span>
        ) : isAsking ? (
          <span className="theta-controls" role="alertdialog" aria-label="Abort?">
            Go back to what was before {verb}? All choices are lost.
            <button
              type="button"
              className="theta-danger"
              data-testid="theta-abort-yes"
              onClick={() => {
                setAsking(false);
                void session.abort();
              }}
            >
              Abort {verb}
            </button>
            {/* eslint-disable-next-line jsx-a11y/no-autofocus -- it takes the place of the button just pressed */}
            <button type="button" data-testid="theta-abort-no" autoFocus onClick={() => setAsking(false)}>
              Go on
            </button>
          </span>
        ) : (
          <>
            <button
              type="button"
              className="theta-primary"
              data-testid="theta-finish"
              disabled={reason !== ''}
              title={reason || `Write the result${merge.message ? ', and commit it' : ''}`}
              onClick={() => void session.finish(message)}
            >
              Finish {verb}
            </button>
            {reason && <span className="theta-hint">{reason}</span>}
            <span className="theta-space" />
            <button type="button" data-testid="theta-abort" onClick={() => setAsking(true)}>
              Abort…
            </button>
          </>
        )}
      </div>
    </footer>
  );
}
