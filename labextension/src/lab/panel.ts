/** What the panel is drawn by, and who talks to the server for it. */
import { createElement, useEffect, useSyncExternalStore, type ReactElement } from 'react';

import '../../style/panel.css';
import type { MergeQuestions } from '../api/merge';
import type { PanelQuestions } from '../api/panel';
import { RestBackend } from '../api/rest';
import { EmptyPanel, PanelSession, PanelView } from '../views/panel';
import type { Actions, Words } from '../views/panel/actions';
import { injectStyle } from '../views/style';
import { inWords, type Drawn } from './mount';
import type { Theta } from './theta';

export function makeSession(repository: string, actions: Actions, pageSize: number, words: Words): PanelSession {
  const backend = new RestBackend<PanelQuestions>('panel', repository);
  const merges = new RestBackend<MergeQuestions>('merge', repository);
  return new PanelSession(backend, merges, actions, { pageSize, words });
}

export function drawPanel(theta: Theta): Drawn {
  injectStyle();
  return { element: inWords(theta.words, createElement(Panel, { theta })) };
}

/** The repository at hand, or what there is instead. */
function Panel({ theta }: { theta: Theta }): ReactElement | null {
  const found = useSyncExternalStore(theta.subscribe, () => theta.place.found);
  const session = useSyncExternalStore(theta.subscribe, () => theta.session);
  const { clickAction } = useSyncExternalStore(theta.subscribe, () => theta.settings.now);
  useEffect(() => {
    void theta.open();
  }, [theta, found]);
  const onInit = (): void => void theta.init();
  if (!found) {
    return null;
  }
  if (found.repository === null) {
    return createElement(EmptyPanel, { found, onInit });
  }
  const { name, repository } = found;
  const actions = theta.actionsOf(repository);
  return session && createElement(PanelView, { key: repository, session, actions, name, clickAction, onInit });
}
