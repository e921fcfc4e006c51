/**
 * The whole view of a model: what it is made of, how it came to be, and how it is loaded.
 */
import { useDeferredValue, useMemo, useSyncExternalStore, type KeyboardEvent, type ReactElement } from 'react';

import type { Commit, Model } from '../../api/panel';
import { countText, plain, sizeText } from '../format';
import { Frame } from '../frame';
import { matcher } from '../globs';
import { useWords, type Actions, type Words } from '../panel/actions';
import { sizeOf, sorted } from './columns';
import type { ModelSession, Snapshot } from './session';
import { ModelTable } from './table';

/** What the view wants to have done. */
export type ModelActions = Pick<Actions, 'openDiff' | 'insertCode' | 'copy' | 'notify'>;

interface Props {
  session: ModelSession;
  actions: ModelActions;
}

export function ModelView({ session, actions }: Props): ReactElement {
  const snapshot = useSyncExternalStore(session.subscribe, session.get);
  const words = useWords();
  const { model, failure, isUntracked } = snapshot;
  return (
    <Frame testId="theta-model" isDone={model !== null || isUntracked} failure={failure}>
      {isUntracked && (
        <div className="theta-controls">
          <p>{words.__('Theta does not keep versions of this file yet.')}</p>
          <button
            type="button"
            className="theta-primary"
            data-testid="theta-model-track"
            onClick={() => void session.track()}
          >
            {words.__('Track with Theta')}
          </button>
        </div>
      )}
      {model && <Body model={model} snapshot={snapshot} session={session} actions={actions} />}
    </Frame>
  );
}

function Body({ model, snapshot, session, actions }: Props & { model: Model; snapshot: Snapshot }): ReactElement {
  const words = useWords();
  const { sort } = snapshot;
  const { tensors } = model;
  const filter = useDeferredValue(snapshot.filter);
  const rows = useMemo(() => {
    const matches = matcher(filter);
    return sorted(
      tensors.filter(({ name }) => matches(name)),
      sort
    );
  }, [tensors, filter, sort]);
  return (
    <>
      <header className="theta-summary">
        <div className="theta-title">
          <h2>{plain(model.path)}</h2>
          <span className="theta-versions">{model.ref ? model.ref.slice(0, 7) : words.__('work tree')}</span>
        </div>
        {tensors.length > 0 && <Filter snapshot={snapshot} session={session} />}
        <p className="theta-facts" data-testid="theta-model-facts">
          {factsOf(model, words).map(fact => (
            <span key={fact}>{fact}</span>
          ))}
        </p>
      </header>
      <div className="theta-model-columns">
        <section aria-label={words.__('Tensors')}>
          {tensors.length > 0 ? (
            <ModelTable tensors={tensors} rows={rows} sort={sort} onSort={session.sort} />
          ) : (
            <p className="theta-hint">{words.__('No tensors are known in this file: it is kept whole.')}</p>
          )}
        </section>
        <aside>
          <Code code={model.code} actions={actions} />
          <History model={model} actions={actions} />
        </aside>
      </div>
    </>
  );
}

function factsOf({ format, opaque, tensors, size, stored }: Model, words: Words): string[] {
  const values = tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  return [
    opaque ? words.__('unknown format, kept whole') : plain(format),
    ...(tensors.length
      ? [
          words._n('%1 tensor', '%1 tensors', tensors.length),
          words._n('%2 parameter', '%2 parameters', values, countText(values))
        ]
      : []),
    // All that it is rebuilt from, which other versions rest on as well: that may be more than the file.
    words.__('%1; needs %2 in the store', sizeText(size), sizeText(stored))
  ];
}

function Filter({ snapshot, session }: Pick<Props, 'session'> & { snapshot: Snapshot }): ReactElement {
  const words = useWords();
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Escape' && snapshot.filter) {
      event.stopPropagation();
      session.filter('');
    }
  };
  return (
    <div className="theta-controls">
      <input
        type="search"
        data-testid="theta-filter"
        placeholder={words.__('filter, or *.glob')}
        aria-label={words.__('Filter tensors by name')}
        spellCheck={false}
        value={snapshot.filter}
        onChange={event => session.filter(event.target.value)}
        onKeyDown={onKeyDown}
      />
    </div>
  );
}

/** Python that loads the model. */
function Code({ code, actions }: { code: string; actions: ModelActions }): ReactElement {
  const words = useWords();
  const insert = (): void => {
    if (!actions.insertCode(code)) {
      actions.notify(words.__('Open a notebook first: the code goes below its active cell.'), 'info');
    }
  };
  return (
    <section className="theta-model-part" aria-label={words.__('Loading it')}>
      <div className="theta-controls">
        <h3>{words.__('Load it')}</h3>
        <span className="theta-space" />
        <button type="button" data-testid="theta-model-insert" onClick={insert}>
          {words.__('Insert')}
        </button>
        <button type="button" data-testid="theta-model-copy" onClick={() => actions.copy(code)}>
          {words.__('Copy')}
        </button>
      </div>
      <pre className="theta-model-code" data-testid="theta-model-code">
        {code}
      </pre>
    </section>
  );
}

/** The commits that changed it; a click shows what one of them did. */
function History({ model, actions }: { model: Model; actions: ModelActions }): ReactElement {
  const words = useWords();
  const open = ({ id, parents }: Commit): void =>
    actions.openDiff({ old: parents[0] ?? '', new: id, path: model.path });
  return (
    <section className="theta-model-part" aria-label={words.__('History')}>
      <h3>{words.__('History')}</h3>
      {model.commits.length === 0 && <p className="theta-hint">{words.__('No commit has it yet.')}</p>}
      <ul className="theta-model-history" data-testid="theta-model-history">
        {model.commits.map(commit => (
          <li key={commit.id}>
            <button
              type="button"
              data-commit={commit.id}
              title={`${words.__('Show what %1 changed', commit.id.slice(0, 7))}\n${timeText(commit.date)}`}
              onClick={() => open(commit)}
            >
              <span className="theta-model-subject">{plain(commit.subject)}</span>
              <span className="theta-hint">
                {[plain(commit.author), dateText(commit.date), commit.id.slice(0, 7)].join(' · ')}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function dateText(iso: string): string {
  return textOf(iso, { dateStyle: 'medium' });
}

function timeText(iso: string): string {
  return textOf(iso, { dateStyle: 'long', timeStyle: 'medium' });
}

function textOf(iso: string, style: Intl.DateTimeFormatOptions): string {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? plain(iso) : date.toLocaleString([], style);
}
