/**
 * The views, as an anywidget mounts them. Its loader (`theta_jupyter/jupyter/loader.js`) takes this module from the
 * labextension, or else from the kernel.
 */
import { createElement } from 'react';
import { createRoot } from 'react-dom/client';

import { version } from '../../../package.json';
import css from '../../style/views.raw.css';
import { CommBackend, type Model } from '../api/comm';
import { DiffView } from '../views/diff';
import { Session, type Link } from '../views/session';
import type { Shared } from '../views/state';

export { version };

/** Which trait holds which part of the state. */
const TRAITS: Record<keyof Shared, string> = {
  selection: 'selection',
  filter: 'filter',
  hideUnchanged: 'hide_unchanged',
  file: 'file'
};

/** Show the model's diff in an element; the function returned takes it away again. */
export function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  injectStyle(el);
  // What stood here while we were loading.
  el.replaceChildren();
  const backend = new CommBackend(model);
  const session = new Session(backend, linkTo(model));
  const root = createRoot(el);
  root.render(createElement(DiffView, { session }));
  return () => {
    root.unmount();
    session.dispose();
    backend.dispose();
  };
}

function linkTo(model: Model): Link {
  const entries = Object.entries(TRAITS) as [keyof Shared, string][];
  return {
    get: () => Object.fromEntries(entries.map(([key, trait]) => [key, model.get(trait)])) as unknown as Shared,
    set: part => {
      for (const [key, trait] of entries) {
        if (part[key] !== undefined && part[key] !== model.get(trait)) {
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

/** Once for each document or shadow root. */
function injectStyle(el: HTMLElement): void {
  const root = el.getRootNode();
  const place = root instanceof ShadowRoot ? root : document.head;
  if (!place.querySelector(`style[data-theta-views="${version}"]`)) {
    const style = document.createElement('style');
    style.dataset['thetaViews'] = version;
    style.textContent = css;
    place.append(style);
  }
}
