/** What all parts of the extension share. */
import { Signal } from '@lumino/signaling';
import { expect, it, vi } from 'vitest';

import type { Preferences } from '../src/lab/settings';
import { Theta } from '../src/lab/theta';
import { english } from '../src/views/panel/actions';
import { stage } from './fakes';

const makeSession = vi.hoisted(() => vi.fn());

vi.mock('../src/lab/actions', () => ({ actionsOf: vi.fn(), notify: vi.fn() }));
vi.mock('../src/lab/panel', () => ({ makeSession }));
vi.mock('../src/lab/tabs', () => ({ Tabs: vi.fn() }));

it('tells sessions that are open how many commits they are to show', async () => {
  const { session } = stage();
  makeSession.mockReturnValue(session);
  const setPageSize = vi.spyOn(session, 'setPageSize');
  const theta = new Theta({ app: {}, notebooks: null, words: english, panel: 'theta-panel' } as never);
  Object.assign(theta.place, { found: { repository: '', name: 'models', ready: true, reason: '' } });
  expect(await theta.open()).toBe(session);
  const composite: Partial<Preferences> = { historyLength: 200 };
  const changed = new Signal<object, void>({});
  await theta.settings.follow({ load: () => Promise.resolve({ composite, changed }) } as never, 'theta-jupyter:panel');
  expect(setPageSize).toHaveBeenLastCalledWith(200);
  composite.historyLength = 300;
  changed.emit();
  expect(setPageSize).toHaveBeenLastCalledWith(300);
});
