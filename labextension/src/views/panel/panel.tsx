/**
 * The whole panel: where one is, what stopped, what has changed, what was, and what else there is.
 */
import { useState, useSyncExternalStore, type ReactElement, type ReactNode } from 'react';

import type { Found, Status } from '../../api/panel';
import { plain } from '../format';
import { Message } from '../message';
import { useWords, type Actions } from './actions';
import { BranchList } from './branches';
import { Changes } from './changes';
import { Conflicts } from './conflicts';
import { History } from './history';
import { Section, Tool } from './section';
import type { PanelSession, Section as Name, Snapshot } from './session';

interface Props {
  session: PanelSession;
  actions: Actions;
  /** What the repository is called. */
  name: string;
  clickAction?: 'diff' | 'model';
  /** Set Theta up here. */
  onInit: () => void;
}

export function PanelView({ session, actions, name, clickAction = 'diff', onInit }: Props): ReactElement {
  const { __ } = useWords();
  const snapshot = useSyncExternalStore(session.subscribe, session.get);
  const { status, commits, branches, open, isBusy, failure, unseen, message } = snapshot;
  // A state, because the history has to hear of it: it is drawn before what is around it.
  const [scroller, setScroller] = useState<HTMLElement | null>(null);
  const section = (id: Name): { id: Name; isOpen: boolean; onOpen: (isOpen: boolean) => void } => ({
    id,
    isOpen: open[id],
    onOpen: isOpen => session.setOpen(id, isOpen)
  });
  return (
    <div
      className="theta-root theta-panel"
      data-testid="theta-panel"
      data-ready={status !== null && snapshot.hasHistory}
    >
      <Header {...{ name, status, session, isBusy }} />
      <Working snapshot={snapshot} session={session} />
      {failure && (
        <div className="theta-failure" data-testid="theta-failure">
          <Message {...failure} />
          <Tool icon="cross" label={__('Dismiss')} onClick={session.forgive} />
        </div>
      )}
      {unseen && <Message {...unseen} />}
      {status && !status.ready && (
        <div className="theta-notice">
          {__('Theta is not set up in this repository yet.')}{' '}
          <button type="button" className="theta-accept" onClick={onInit}>
            {__('Set up')}
          </button>
        </div>
      )}
      <div ref={setScroller} className="theta-scroll">
        {status?.merge && (
          <Section {...section('conflicts')} title={__('Conflicts')} count={status.merge.files.length}>
            <Conflicts {...{ isBusy, session, actions }} merge={status.merge} />
          </Section>
        )}
        {status && (
          <Section
            {...section('changes')}
            title={__('Changes')}
            count={status.changes.filter(({ state }) => state !== 'conflict').length}
          >
            <Changes {...{ status, message, isBusy, session, actions, clickAction }} />
          </Section>
        )}
        {branches && (
          <Section
            {...section('branches')}
            title={__('Branches')}
            count={branches.branches.filter(({ remote }) => !remote).length}
          >
            <BranchList
              {...{ isBusy, session }}
              told={branches}
              current={status?.branch ?? ''}
              canMerge={status !== null && status.merge === null && !isBusy}
            />
          </Section>
        )}
        {(commits.length > 0 || snapshot.hasHistory) && (
          <Section {...section('history')} title={__('History')}>
            <History {...{ snapshot, session, actions, scroller }} />
          </Section>
        )}
      </div>
    </div>
  );
}

interface HeaderProps {
  name: string;
  status: Status | null;
  session: PanelSession;
  isBusy: boolean;
}

function Header({ name, status, session, isBusy }: HeaderProps): ReactElement {
  const { __ } = useWords();
  const { upstream, remotes = [], branch = '', detached = false } = status ?? {};
  return (
    <header className="theta-head-line">
      <div className="theta-where">
        <h2>{plain(name)}</h2>
        <p title={detached ? __('HEAD is on no branch') : undefined}>
          <span className="theta-branch-name">{detached ? __('at %1', plain(branch)) : plain(branch)}</span>
          {upstream && (
            <span className="theta-hint" title={__('ahead of %1, and behind', plain(upstream.name))}>
              {' '}
              ↑{upstream.ahead} ↓{upstream.behind}
            </span>
          )}
        </p>
      </div>
      {remotes.length > 0 && (
        <>
          <Tool icon="pull" label={__('Pull')} isDisabled={isBusy} onClick={() => void session.pull()} />
          <Tool icon="push" label={__('Push')} isDisabled={isBusy} onClick={() => void session.push()} />
        </>
      )}
      <Tool icon="refresh" label={__('Refresh')} onClick={() => void session.refresh()} testId="theta-look" />
    </header>
  );
}

/** What goes on, how far it is, and a way to give it up. */
function Working({ snapshot: { busy }, session }: { snapshot: Snapshot; session: PanelSession }): ReactElement {
  const { __ } = useWords();
  const { progress } = busy ?? {};
  // Names of branches and files are in it.
  const label = plain(busy?.label ?? '');
  return (
    <div className="theta-working" role="status" data-testid="theta-busy">
      {busy && (
        <>
          <span className="theta-path">{progress?.what ? `${label} ${plain(progress.what)}` : label}</span>
          <progress aria-label={label} {...(progress?.total ? { value: progress.done, max: progress.total } : {})} />
          {busy.canCancel && <Tool icon="cross" label={__('Cancel')} onClick={session.cancel} />}
        </>
      )}
    </div>
  );
}

interface EmptyProps {
  found: Found;
  onInit: () => void;
}

/** There is nothing here yet. */
export function EmptyPanel({ found: { name, reason }, onInit }: EmptyProps): ReactElement {
  const { __ } = useWords();
  return (
    <Around>
      {reason ? (
        <p>{plain(reason)}</p>
      ) : (
        <>
          <p>{__('Models in %1 have no versions yet: a repository keeps them.', plain(name))}</p>
          <button type="button" className="theta-accept" data-testid="theta-init" onClick={onInit}>
            {__('Initialize a repository')}
          </button>
        </>
      )}
    </Around>
  );
}

function Around({ children }: { children: ReactNode }): ReactElement {
  return (
    <div className="theta-root theta-panel theta-panel-empty" data-testid="theta-panel" data-ready="true">
      {children}
    </div>
  );
}
