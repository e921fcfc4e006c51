/** What diffs and merges are drawn by: a chunk of its own, for it brings Plotly. */
import { createElement } from 'react';

import type { MergeQuestions } from '../api/merge';
import { OpenMerge } from '../api/open';
import { RestBackend, type Between } from '../api/rest';
import type { DiffQuestions } from '../api/types';
import { DiffView } from '../views/diff';
import { MergeView } from '../views/merge/merge';
import { MergeSession, type Shared as MergeShared } from '../views/merge/session';
import type { Words } from '../views/panel/actions';
import { Session } from '../views/session';
import type { Shared } from '../views/state';
import type { Link } from '../views/store';
import { injectStyle } from '../views/style';
import { inWords, type Drawn } from './mount';

export function drawDiff(repository: string, of: Between, link: Link<Shared>, words: Words): Drawn {
  injectStyle();
  const session = new Session(new RestBackend<DiffQuestions>('diff', repository, of), link);
  return { element: inWords(words, createElement(DiffView, { session })), dispose: () => session.dispose() };
}

export function drawMerge(repository: string, link: Link<MergeShared>, words: Words): Drawn {
  injectStyle();
  const session = new MergeSession(new OpenMerge(new RestBackend<MergeQuestions>('merge', repository)), link);
  return { element: inWords(words, createElement(MergeView, { session })), dispose: () => session.dispose() };
}
