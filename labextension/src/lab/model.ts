/** What a model is drawn by. */
import { createElement } from 'react';

import '../../style/model.css';
import type { PanelQuestions } from '../api/panel';
import { RestBackend, find } from '../api/rest';
import { Frame } from '../views/frame';
import { Message } from '../views/message';
import { ModelSession, ModelView, type ModelActions } from '../views/model';
import type { Words } from '../views/panel/actions';
import { injectStyle } from '../views/style';
import { inWords, type Drawn } from './mount';
import { local, within } from './place';
import type { Theta } from './theta';

export function drawModel(repository: string, path: string, ref: string, actions: ModelActions, words: Words): Drawn {
  injectStyle();
  const session = new ModelSession(new RestBackend<PanelQuestions>('panel', repository), path, ref);
  return {
    element: inWords(words, createElement(ModelView, { session, actions })),
    dispose: () => session.dispose()
  };
}

/** A checkpoint, wherever it lies. */
export async function drawFile(file: string, theta: Theta): Promise<Drawn> {
  const path = local(file);
  const { repository, reason } = await find(path);
  if (repository !== null) {
    return drawModel(repository, within(repository, path), '', theta.actionsOf(repository), theta.words);
  }
  injectStyle();
  const { words } = theta;
  const message = reason || words.__('This model is in no repository, so Theta keeps no versions of it.');
  const hint = reason ? '' : words.__('The Theta panel makes one.');
  const children = createElement(Message, { message, hint });
  return { element: createElement(Frame, { testId: 'theta-model', isDone: true, failure: null, children }) };
}
