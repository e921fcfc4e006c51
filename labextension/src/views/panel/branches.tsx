/**
 * Branches, here and as remotes had them: where to go, what to merge, what to share.
 */
import { useState, type ReactElement } from 'react';

import type { Branch, Branches as Told } from '../../api/panel';
import { plain } from '../format';
import { useWords } from './actions';
import { Icon } from './icons';
import { Tool, useRows } from './section';
import type { PanelSession } from './session';
import { ago, whole } from './time';

/** From so many on, they are looked for by name. */
const MANY = 10;

interface Props {
  told: Told;
  current: string;
  canMerge: boolean;
  isBusy: boolean;
  session: PanelSession;
}

export function BranchList({ told, current, canMerge, isBusy, session }: Props): ReactElement {
  const { __ } = useWords();
  const [filter, setFilter] = useState('');
  const { branches, remotes } = told;
  // Without the box to see it in, a filter that was set does not hold.
  const needle = branches.length > MANY ? filter.toLowerCase() : '';
  const wanted = branches.filter(({ name }) => name.toLowerCase().includes(needle));
  const groups = [
    { title: __('Here'), of: wanted.filter(({ remote }) => !remote) },
    { title: __('Remote'), of: wanted.filter(({ remote }) => remote) }
  ].filter(({ of }) => of.length > 0);
  const rows = useRows(wanted.length);
  let place = 0;
  return (
    <>
      <div className="theta-buttons">
        <button
          type="button"
          data-testid="theta-new-branch"
          disabled={isBusy}
          onClick={() => void session.createBranch()}
        >
          {__('New branch…')}
        </button>
        {remotes.length > 0 && (
          <button type="button" disabled={isBusy} onClick={() => void session.fetch()}>
            {__('Fetch')}
          </button>
        )}
      </div>
      {branches.length > MANY && (
        <input
          type="search"
          value={filter}
          placeholder={__('Filter')}
          aria-label={__('Filter branches')}
          onChange={event => setFilter(event.target.value)}
        />
      )}
      {/* eslint-disable-next-line jsx-a11y/no-static-element-interactions -- keys go from row to row */}
      <div onKeyDown={rows.onKeyDown}>
        {groups.map(({ title, of }) => (
          <div key={title} role="group" aria-label={title}>
            {groups.length > 1 && <h4>{title}</h4>}
            {of.map(branch => {
              const index = place++;
              const isAt = index === rows.at;
              return (
                <Row
                  key={`${branch.remote ? 'remote' : 'here'}:${branch.name}`}
                  {...{ branch, remotes, index, isAt, current, canMerge, session }}
                  onFocus={() => rows.setAt(index)}
                />
              );
            })}
          </div>
        ))}
      </div>
    </>
  );
}

interface RowProps {
  branch: Branch;
  remotes: readonly string[];
  index: number;
  isAt: boolean;
  current: string;
  canMerge: boolean;
  session: PanelSession;
  onFocus: () => void;
}

function Row({ branch, remotes, index, isAt, current, canMerge, session, onFocus }: RowProps): ReactElement {
  const words = useWords();
  const { __ } = words;
  const { name, remote, subject, date, upstream } = branch;
  // What a remote calls it, without the remote's own name: Git makes a branch of that name, which follows it.
  const whose = remoteOf(name, remotes);
  const target = remote ? name.slice(whose.length + 1) : name;
  const go = (): void => {
    if (!branch.current) {
      void session.switchTo(target);
    }
  };
  return (
    <div className="theta-line" data-testid="theta-branch-row" data-name={name} data-row={index} onFocus={onFocus}>
      <button
        type="button"
        className="theta-line-main"
        data-main
        tabIndex={isAt ? 0 : -1}
        aria-current={branch.current ? 'true' : undefined}
        title={[name, subject, whole(date)].map(plain).join('\n')}
        onClick={go}
      >
        <span className="theta-letter">{branch.current ? '●' : <Icon name="branch" />}</span>
        <span className="theta-path">
          <span className={branch.current ? 'theta-strong' : undefined}>{plain(name)}</span>
          <span className="theta-hint"> {plain(subject)}</span>
        </span>
        <span className="theta-line-note">
          {upstream && (upstream.ahead > 0 || upstream.behind > 0) && `↑${upstream.ahead} ↓${upstream.behind} `}
          {ago(date, words)}
        </span>
      </button>
      <span className="theta-line-tools">
        {!branch.current && (
          <>
            <Tool icon="switch" label={__('Switch to %1', target)} isReached={isAt} onClick={go} />
            <Tool
              icon="merge"
              label={__('Merge %1 into %2', name, current)}
              isReached={isAt}
              isDisabled={!canMerge}
              onClick={() => void session.mergeBranch(name)}
            />
            {!remote && (
              <Tool
                icon="trash"
                label={__('Delete %1', name)}
                isReached={isAt}
                onClick={() => void session.deleteBranch(name)}
              />
            )}
          </>
        )}
      </span>
    </div>
  );
}

/** Whose branch it is: of remotes `team` and `team/x`, `team/x/rte` is of the second. One that is gone has no slash. */
function remoteOf(name: string, remotes: readonly string[]): string {
  const found = remotes.filter(remote => name.startsWith(`${remote}/`)).sort((a, b) => b.length - a.length);
  return found[0] ?? name.slice(0, name.indexOf('/'));
}
