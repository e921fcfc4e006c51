/**
 * The views, as an anywidget mounts them. Its loader (`theta_jupyter/jupyter/loader.js`) takes this module from the
 * labextension, or else from the kernel.
 */
import { createElement, type FunctionComponent, type ReactElement } from 'react';
import { createRoot } from 'react-dom/client';

import { version } from '../../../package.json';
import type { BoardQuestions } from '../api/board';
import { CommBackend, type Model } from '../api/comm';
import type { MergeQuestions } from '../api/merge';
import { OpenMerge } from '../api/open';
import type { DiffQuestions } from '../api/types';
import { BoardView } from '../views/board/board';
import { BoardSession } from '../views/board/session';
import { DiffView } from '../views/diff';
import { MergeView } from '../views/merge/merge';
import { MergeSession } from '../views/merge/session';
import type { Shared as MergeShared } from '../views/merge/session';
import { Session } from '../views/session';
import type { Shared } from '../views/state';
import type { Link } from '../views/store';
import { injectStyle } from '../views/style';

export { version };

/** What may stand in a cell, by what the model calls it. */
const VIEWS: Record<string, (model: Model) => View> = { diff, merge, board };

interface View {
  element: ReactElement;
  dispose: () => void;
}

/** Show the model in an element; the function returned takes it away again. */
export function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  injectStyle(el);
  // What stood here while we were loading.
  el.replaceChildren();
  const open = VIEWS[model.get('_view') as string] ?? diff;
  const { element, dispose } = open(model);
  const root = createRoot(el);
  root.render(element);
  return () => {
    root.unmount();
    dispose();
  };
}

function diff(model: Model): View {
  const backend = new CommBackend<DiffQuestions>(model);
  const traits: Traits<Shared> = {
    selection: 'selection',
    filter: 'filter',
    hideUnchanged: 'hide_unchanged',
    file: 'file'
  };
  return shown(DiffView, new Session(backend, linkTo(model, traits)), backend);
}

function merge(model: Model): View {
  const backend = new CommBackend<MergeQuestions>(model);
  const traits: Traits<MergeShared> = { selection: 'selection', filter: 'filter', file: 'file' };
  return shown(MergeView, new MergeSession(new OpenMerge(backend), linkTo(model, traits)), backend);
}

function board(model: Model): View {
  const backend = new CommBackend<BoardQuestions>(model);
  return shown(BoardView, new BoardSession(backend), backend);
}

interface Disposable {
  dispose(): void;
}

function shown<S extends Disposable>(view: FunctionComponent<{ session: S }>, session: S, backend: Disposable): View {
  const dispose = (): void => {
    session.dispose();
    backend.dispose();
  };
  return { element: createElement(view, { session }), dispose };
}

/** Which trait holds which part of a state. */
type Traits<Shared> = Record<keyof Shared & string, string>;

function linkTo<Shared extends object>(model: Model, traits: Traits<Shared>): Link<Shared> {
  const entries = Object.entries(traits) as [keyof Shared & string, string][];
  return {
    get: () => Object.fromEntries(entries.map(([key, trait]) => [key, model.get(trait)])) as unknown as Shared,
    set: part => {
      for (const [key, trait] of entries) {
        if (part[key] !== undefined && JSON.stringify(part[key]) !== JSON.stringify(model.get(trait))) {
          model.set(trait, part[key]);
        }
      }
      model.save_changes();
    },
    subscribe: changed => {
      const events = entries.map(([, trait]) => `change:${trait}`);
      events.forEach(event => model.on(event, changed));
      return () => events.forEach(event => model.off(event, changed));
    }
  };
}
