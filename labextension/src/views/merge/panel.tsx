/**
 * One tensor of a merge, closely: choose a strategy, see at once what comes of it, and apply it to as much as wanted.
 */
import { useEffect, useMemo, useState, type ReactElement } from 'react';

import type { Progress } from '../../api/backend';
import type { Preview, Row } from '../../api/merge';
import { Facts, Figures } from '../findings';
import { plain, shapeText, sizeText } from '../format';
import { cover, fnmatch, globOf } from '../globs';
import { Message } from '../message';
import { failureOf, type Failure } from '../store';
import { Shape, versionOf } from '../versions';
import { ParameterControls, StrategyChooser, isComplete } from './controls';
import type { Draft, MergeSession, Scope, Snapshot } from './session';
import { ClassMark } from './table';
import { STRUCTURE, branchesOf, isConflict, kindGlob, pathTo } from './tree';
import { callText, plural, shapesText } from './words';

/** Facts that have a place of their own above. */
const SHOWN = new Set(['type', 'shape']);

interface Props {
  row: Row | undefined;
  snapshot: Snapshot;
  session: MergeSession;
}

export function Panel({ row, snapshot, session }: Props): ReactElement {
  const { strategies, draft } = snapshot;
  const trial = usePreview(session, snapshot, row);
  if (!row) {
    return (
      <section className="theta-tensor" data-testid="theta-preview" data-name="" data-ready="false">
        <p className="theta-hint">
          Click a row to look at a tensor, and to try a strategy on it before it is applied. Ctrl and Shift select more
          than one.
        </p>
      </section>
    );
  }
  const chosen = strategies.find(({ name }) => name === draft.strategy);
  return (
    <section
      className="theta-tensor"
      data-testid="theta-preview"
      data-name={row.name}
      data-strategy={draft.strategy}
      data-ready={trial.preview !== null && !trial.isWaiting}
      aria-label="Tensor looked at"
      aria-busy={trial.isWaiting}
    >
      <h3>
        <ClassMark row={row} /> <span className="theta-name-whole">{plain(row.name)}</span>
      </h3>
      <p className="theta-facts">
        <span>{row.class}</span>
        {row.dtype && <span>{plain(row.dtype)}</span>}
        {row.dtype && <span>{shapesText(row) || shapeText(row.shape)}</span>}
      </p>
      {row.remark && <p className="theta-hint">{plain(row.remark)}</p>}
      {isConflict(row) && (
        <div className="theta-try">
          <div className="theta-controls">
            <StrategyChooser
              label="Strategy to try"
              strategies={strategies}
              value={draft.strategy}
              none="choose a strategy"
              refusals={row.refusals}
              onChoose={strategy => session.look({ draft: { strategy, parameters: {} } })}
            />
            {chosen && <span className="theta-hint">{plain(chosen.summary)}</span>}
          </div>
          {chosen && (
            <ParameterControls
              strategy={chosen}
              given={draft.parameters}
              onChange={parameters => session.look({ draft: { ...draft, parameters } })}
            />
          )}
          <Apply row={row} snapshot={snapshot} session={session} />
        </div>
      )}
      {trial.failure && <Message {...trial.failure} />}
      {trial.isWaiting && <Waiting progress={trial.progress} />}
      {trial.preview && <Found preview={trial.preview} isOld={trial.isWaiting} />}
    </section>
  );
}

const SCOPES: Record<Scope, string> = {
  tensor: 'this tensor',
  selection: 'the selection',
  module: 'this module',
  pattern: 'a pattern'
};

/** What for, and do it. */
function Apply({ row, snapshot, session }: Props & { row: Row }): ReactElement {
  const { draft, strategies, selection, conflicts, tree, filter } = snapshot;
  const module = pathTo(tree, row.name).at(-1);
  const [pattern, setPattern] = useState('');
  const first = filter ? globOf(filter) : kindGlob(row);
  const glob = pattern || first;
  const scopes = (Object.keys(SCOPES) as Scope[]).filter(
    scope => (scope !== 'module' || module) && (scope !== 'selection' || selection.length > 1)
  );
  const scope = scopes.includes(snapshot.scope) ? snapshot.scope : 'tensor';
  const names = useMemo(() => conflicts.map(({ name }) => name), [conflicts]);
  const matched = useMemo(() => names.filter(fnmatch(glob)).length, [names, glob]);
  const texts: Record<Scope, string> = {
    ...SCOPES,
    selection: `the selection of ${selection.length}`,
    module: `this module (${module?.glob ?? ''})`
  };
  const globs = (): string[] => {
    switch (scope) {
      case 'tensor':
        return [row.glob];
      case 'selection':
        return selectionGlobs(snapshot);
      case 'module':
        return [module?.glob ?? row.glob];
      case 'pattern':
        return [glob];
    }
  };
  const isReady = isComplete(draft, strategies) && (scope !== 'pattern' || matched > 0);
  return (
    <form
      className="theta-controls"
      onSubmit={event => {
        event.preventDefault();
        if (isReady) {
          void session.apply(globs(), draft);
        }
      }}
    >
      <label>
        apply to
        <select
          data-testid="theta-scope"
          value={scope}
          onChange={event => session.look({ scope: event.target.value as Scope })}
        >
          {scopes.map(scope => (
            <option key={scope} value={scope}>
              {plain(texts[scope])}
            </option>
          ))}
        </select>
      </label>
      {scope === 'pattern' && (
        <>
          <input
            type="text"
            className="theta-code"
            data-testid="theta-pattern"
            aria-label="Pattern"
            spellCheck={false}
            placeholder={first}
            value={pattern}
            onChange={event => setPattern(event.target.value)}
          />
          <span className="theta-hint">{plural(matched, 'conflict')}</span>
        </>
      )}
      <button
        type="submit"
        className="theta-primary"
        data-testid="theta-apply"
        disabled={!isReady}
        title={isReady ? `${callText(draft)} for ${texts[scope]}` : 'Choose a strategy, and give what it needs'}
      >
        Apply
      </button>
    </form>
  );
}

/** What is selected, as few globs: modules, the filter, a kind; and what is left one by one. */
function selectionGlobs({ selection, conflicts, tree, filter }: Snapshot): string[] {
  const rows = new Map(conflicts.map(row => [row.name, row]));
  const names = [...rows.keys()];
  const chosen = new Set(selection.filter(name => rows.has(name)));
  const kinds = new Set(
    [...chosen]
      .slice(0, KINDS)
      .flatMap(name => rows.get(name) ?? [])
      .map(kindGlob)
  );
  const proposed = [
    ...[...(filter ? [globOf(filter)] : []), ...kinds].map(glob => ({ glob, names: names.filter(fnmatch(glob)) })),
    ...[tree, ...branchesOf(tree)].map(({ glob, names }) => ({ glob, names: names.filter(name => rows.has(name)) }))
  ];
  return cover(chosen, proposed, name => rows.get(name)?.glob ?? name);
}

/** Of a larger selection, only so many may propose their kind. */
const KINDS = 64;

/** The selection, and what to do with all of it. */
export function SelectionBar({ snapshot, session }: Omit<Props, 'row'>): ReactElement {
  const { selection, strategies, conflicts } = snapshot;
  const [strategy, setStrategy] = useState('');
  const draft: Draft = { strategy, parameters: {} };
  const isReady = isComplete(draft, strategies);
  const refusals = useMemo(() => {
    const chosen = new Set(selection);
    const rows = conflicts.filter(({ name }) => chosen.has(name));
    const all = new Map<string, number>();
    rows.flatMap(row => Object.keys(row.refusals)).forEach(name => all.set(name, (all.get(name) ?? 0) + 1));
    return Object.fromEntries(
      [...all].map(([name, count]) => [name, count < rows.length ? `not for ${count} of them` : 'for none of them'])
    );
  }, [selection, conflicts]);
  return (
    <div className="theta-controls theta-bulk" data-testid="theta-bulk" role="group" aria-label="Selection">
      <strong>{selection.length} selected:</strong>
      <StrategyChooser
        label="Strategy of the selection"
        strategies={strategies}
        value={strategy}
        none="choose a strategy"
        refusals={refusals}
        onChoose={setStrategy}
      />
      <button
        type="button"
        data-testid="theta-bulk-apply"
        disabled={!isReady}
        title={isReady || !strategy ? 'Apply to all that is selected' : 'Give what it needs beside the table'}
        onClick={() => void session.apply(selectionGlobs(snapshot), draft)}
      >
        Apply
      </button>
      <button type="button" className="theta-link" onClick={() => session.select([])}>
        clear
      </button>
    </div>
  );
}

function Waiting({ progress }: { progress: Progress | null }): ReactElement {
  return (
    <p className="theta-hint theta-waiting theta-progress" role="status">
      {progress && progress.total > 1 ? (
        <>
          <progress value={progress.done} max={progress.total} aria-label={progress.what} />
          {plain(progress.what)} {sizeText(progress.done)} of {sizeText(progress.total)}
        </>
      ) : (
        'Computing…'
      )}
    </p>
  );
}

function Found({
  preview: { facts, table, figures, remarks },
  isOld
}: {
  preview: Preview;
  isOld: boolean;
}): ReactElement {
  return (
    <div className={`theta-found${isOld ? ' theta-old' : ''}`}>
      {remarks.map(remark => (
        <p key={remark} className="theta-hint">
          {plain(remark)}
        </p>
      ))}
      <Facts facts={facts.filter(([label]) => !SHOWN.has(label))} />
      {table.rows.length > 0 && (
        <table className="theta-values">
          <thead>
            <tr>
              {table.columns.map(column => (
                <th key={column} scope="col" className={column.startsWith('>') ? 'theta-number' : undefined}>
                  {plain(column.replace(/^>/, ''))}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {table.rows.map((cells, index) => (
              <tr key={index}>
                {cells.map((cell, place) => {
                  const side = place === 0 ? versionOf(cell) : undefined;
                  return (
                    <td key={place} className={table.columns[place]?.startsWith('>') ? 'theta-number' : undefined}>
                      {side && <Shape version={side} />}
                      {side && ' '}
                      {plain(cell)}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <Figures figures={figures} />
    </div>
  );
}

interface Trial {
  preview: Preview | null;
  progress: Progress | null;
  failure: Failure | null;
  isWaiting: boolean;
}

/** Milliseconds: long enough for a slider to be drawn along. */
const PAUSE = 200;

/** What comes of the draft, asked for again whenever it changes; what was there stays in the meantime. */
function usePreview(session: MergeSession, { draft, strategies, path, merge }: Snapshot, row: Row | undefined): Trial {
  const [trial, setTrial] = useState<Trial & { name: string; of: string }>({
    ...{ preview: null, progress: null, failure: null, isWaiting: false, name: '', of: '' }
  });
  const name = row?.name ?? '';
  const tried = isComplete(draft, strategies) && row && isConflict(row) ? draft : { strategy: '', parameters: {} };
  // The next step of a rebase has other versions.
  const key = JSON.stringify([path, name, tried, merge?.theirs.commit]);
  useEffect(() => {
    const [path, name, draft] = JSON.parse(key) as [string, string, Draft];
    if (!name || !path || name === STRUCTURE) {
      return;
    }
    const controller = new AbortController();
    const { signal } = controller;
    const set = (part: Partial<Trial>): void => {
      if (!signal.aborted) {
        setTrial(last => ({ ...(last.name === name ? last : EMPTY), ...part, name, of: key }));
      }
    };
    const ask = async (): Promise<void> => {
      try {
        const onProgress = (progress: Progress): void => set({ progress, isWaiting: true });
        const preview = await session.preview(name, draft, { onProgress, signal });
        set({ preview, progress: null, failure: null, isWaiting: false });
      } catch (error) {
        set({ preview: null, progress: null, failure: failureOf(error), isWaiting: false });
      }
    };
    const timer = setTimeout(() => void ask(), PAUSE);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [session, key]);
  return {
    ...(trial.name === name ? trial : EMPTY),
    ...(trial.of === key ? {} : { isWaiting: name !== '' && name !== STRUCTURE, failure: null, progress: null })
  };
}

const EMPTY: Trial = { preview: null, progress: null, failure: null, isWaiting: false };
