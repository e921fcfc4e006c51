import { act, render, screen, waitFor, within } from '@testing-library/react';
import userEvent, { type UserEvent } from '@testing-library/user-event';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { BackendError } from '../src/api/backend';
import { hear, type Topic } from '../src/api/page';
import type { Model, ModelTensor, PanelQuestions } from '../src/api/panel';
import { ModelSession, ModelView } from '../src/views/model';
import { COLUMNS, WIDTHS, columnsOf, sizeOf, sorted } from '../src/views/model/columns';
import { FakeBackend, change, commit, fakeActions, status, type FakeActions } from './fakes';
import { texts } from './show';

function tensor(name: string, part: Partial<ModelTensor> = {}): ModelTensor {
  return {
    ...{ name, dtype: 'F32', shape: [2, 3], norm: 1.5, mean: 0.25, largest: 1, not_finite: 0 },
    ...{ update: 'delta', stored: 1200 },
    ...part
  };
}

function model(part: Partial<Model> = {}): Model {
  return {
    ...{ path: 'models/a.safetensors', ref: '', format: 'safetensors', opaque: false, size: 4e6, stored: 1e6 },
    ...{ tensors: [tensor('b.weight'), tensor('a.weight')], commits: [], code: 'from theta_jupyter import load' },
    ...part
  };
}

const UNSEEN = /[\p{Cc}\p{Cf}]/u;

const ends: (() => void)[] = [];

beforeEach(() => {
  const nothing = (): void => undefined;
  vi.stubGlobal(
    'ResizeObserver',
    class {
      readonly observe = nothing;
      readonly unobserve = nothing;
      readonly disconnect = nothing;
    }
  );
  vi.stubGlobal('matchMedia', () => new EventTarget());
  vi.spyOn(HTMLCanvasElement.prototype, 'getContext').mockReturnValue(null);
  wide(1000);
});

afterEach(() => {
  ends.splice(0).forEach(end => end());
  vi.unstubAllGlobals();
});

/** The table has so many pixels. */
function wide(pixels: number): void {
  vi.spyOn(HTMLElement.prototype, 'offsetWidth', 'get').mockReturnValue(pixels);
}

interface Opened {
  backend: FakeBackend<PanelQuestions>;
  session: ModelSession;
  actions: FakeActions;
  user: UserEvent;
}

/** The view of a model, once it has been answered. */
async function open(found: Model | Error, { ref = '', isTracked = true } = {}): Promise<Opened> {
  const path = 'models/a.safetensors';
  const backend = new FakeBackend<PanelQuestions>({
    status: () => status({ changes: isTracked ? [] : [change(path, { letter: '?', state: 'untracked' })] }),
    model: () => {
      if (found instanceof Error) {
        throw found;
      }
      return found;
    },
    track: () => ({ message: 'tracked', details: [] })
  });
  const session = new ModelSession(backend, path, ref);
  const actions = fakeActions();
  ends.push(() => session.dispose());
  render(<ModelView session={session} actions={actions} />);
  await waitFor(() => expect(screen.queryByText('Loading…')).toBeNull());
  return { backend, session, actions, user: userEvent.setup() };
}

const names = (): string[] => texts('[data-name] .theta-name');
const head = (name: string): HTMLElement => screen.getByRole('button', { name });
const order = (name: string): string | null => head(name).closest('[aria-sort]')?.getAttribute('aria-sort') ?? null;

describe('a model', () => {
  it('says what it is made of', async () => {
    const { backend } = await open(
      model({ tensors: [tensor('a', { shape: [1000, 30] }), tensor('b', { shape: [] })] })
    );
    expect(backend.last('model').told).toEqual({ path: 'models/a.safetensors', ref: '' });
    expect(screen.getByRole('heading', { name: 'models/a.safetensors' })).toBeTruthy();
    expect(screen.getByText('work tree')).toBeTruthy();
    expect(texts('[data-testid="theta-model-facts"] span')).toEqual([
      ...['safetensors', '2 tensors', '30 k parameters', '4 MB; needs 1 MB in the store']
    ]);
  });

  it('of a commit says which', async () => {
    const ref = '0123456789abcdef';
    const { backend } = await open(model({ ref }), { ref });
    expect(screen.getByText('0123456')).toBeTruthy();
    // What is in a commit is tracked: there is nothing to ask.
    expect(backend.of('status')).toEqual([]);
  });

  it('of an unknown format is kept whole', async () => {
    await open(model({ opaque: true, tensors: [] }));
    expect(screen.getByText('No tensors are known in this file: it is kept whole.')).toBeTruthy();
    expect(texts('[data-testid="theta-model-facts"] span')[0]).toBe('unknown format, kept whole');
    expect(screen.queryByTestId('theta-filter')).toBeNull();
  });

  it('that cannot be shown says why', async () => {
    await open(new BackendError('its objects are not here', 'Fetch them.'));
    expect(screen.getByRole('alert').textContent).toBe('its objects are not hereFetch them.');
  });

  it('that nobody has tracked is tracked by a click, and then shown', async () => {
    const { backend, user } = await open(model(), { isTracked: false });
    const heard: Topic[] = [];
    ends.push(hear({}, topic => heard.push(topic)));
    expect(backend.of('model')).toEqual([]);
    expect(screen.queryByTestId('theta-model-table')).toBeNull();
    backend.answers['status'] = () => status();
    await user.click(screen.getByRole('button', { name: 'Track with Theta' }));
    expect(backend.last('track').told).toEqual({ paths: ['models/a.safetensors'] });
    expect(await screen.findByTestId('theta-model-table')).toBeTruthy();
    expect(heard).toEqual(['repository']);
  });

  it('that cannot be tracked says why', async () => {
    const { backend, user } = await open(model(), { isTracked: false });
    backend.answers['track'] = () => {
      throw new BackendError('the disk is full');
    };
    await user.click(screen.getByRole('button', { name: 'Track with Theta' }));
    expect((await screen.findByRole('alert')).textContent).toBe('the disk is full');
    // With the disk cleaned up, one goes on from here.
    backend.answers['track'] = () => ({ message: 'tracked', details: [] });
    backend.answers['status'] = () => status();
    await user.click(screen.getByRole('button', { name: 'Track with Theta' }));
    expect(await screen.findByTestId('theta-model-table')).toBeTruthy();
    expect(screen.queryByRole('alert')).toBeNull();
  });

  it('has names that are shown as text', async () => {
    const hostile = '<img src=x onerror=1>\u202e\u0007';
    const shown = '<img src=x onerror=1>\\u202e\\x07';
    await open(
      model({
        path: hostile,
        format: hostile,
        tensors: [tensor(hostile, { update: hostile })],
        commits: [commit('c1', { subject: hostile, author: hostile, date: hostile })]
      })
    );
    const root = screen.getByTestId('theta-model');
    expect(root.querySelector('img')).toBeNull();
    expect(root.textContent).not.toMatch(UNSEEN);
    expect(root.textContent.split(shown)).toHaveLength(8);
    const titles = [...root.querySelectorAll('[title]')].map(element => element.getAttribute('title') ?? '');
    expect(titles.filter(title => UNSEEN.test(title.replaceAll('\n', '')))).toEqual([]);
  });
});

describe('the tensors of a model', () => {
  it('are sorted by name at first, and the other way round by a click', async () => {
    const { user } = await open(model());
    expect(names()).toEqual(['a.weight', 'b.weight']);
    expect(order('Name of the tensor')).toBe('ascending');
    await user.click(head('Name of the tensor'));
    expect(names()).toEqual(['b.weight', 'a.weight']);
    expect(order('Name of the tensor')).toBe('descending');
  });

  it('are sorted by a number with the largest first', async () => {
    const { user } = await open(model({ tensors: [1, 3, 2].map(norm => tensor(`n${norm}`, { norm })) }));
    await user.click(head('L2 norm'));
    expect(names()).toEqual(['n3', 'n2', 'n1']);
    expect([order('L2 norm'), order('Name of the tensor')]).toEqual(['descending', 'none']);
    await user.click(head('L2 norm'));
    expect(names()).toEqual(['n1', 'n2', 'n3']);
  });

  it('are filtered by a part of the name or a glob, until Escape', async () => {
    const { user } = await open(
      model({ tensors: ['layer.0.weight', 'layer.0.bias', 'head.weight'].map(name => tensor(name)) })
    );
    const filter = screen.getByLabelText('Filter tensors by name');
    await user.type(filter, 'BIAS');
    await waitFor(() => expect(names()).toEqual(['layer.0.bias']));
    await user.clear(filter);
    await user.type(filter, 'layer.*.weight');
    await waitFor(() => expect(names()).toEqual(['layer.0.weight']));
    await user.keyboard('{Escape}');
    await waitFor(() => expect(names()).toHaveLength(3));
  });

  it('may all be left out by the filter', async () => {
    const { user } = await open(model());
    await user.type(screen.getByLabelText('Filter tensors by name'), 'nothing');
    expect(await screen.findByText('No tensor is left by the filter.')).toBeTruthy();
  });

  it('are marked if they hold what is no number', async () => {
    await open(model({ tensors: [tensor('a', { not_finite: 1200 }), tensor('b')] }));
    const marks = screen.getAllByRole('img', { name: /NaN/u });
    expect(
      marks.map(mark => [mark.getAttribute('aria-label'), mark.closest('[data-name]')?.getAttribute('data-name')])
    ).toEqual([['1.2 k values are NaN or infinite', 'a']]);
  });

  it('show numbers in short, and in full when pointed at', async () => {
    await open(model({ tensors: [tensor('a', { norm: 1.23456789, stored: 1234 })] }));
    const cells = within(screen.getByTestId('theta-model-table')).getAllByRole('gridcell');
    const shown = cells.map(({ textContent, title }) => [textContent, title]);
    expect(shown).toContainEqual(['1.23', '1.23456789']);
    expect(shown).toContainEqual(['1.2 kB', '1234 bytes']);
    expect(shown).toContainEqual(['2 × 3', '2 × 3']);
  });

  it('have only the columns that there is room for', async () => {
    wide(320);
    await open(model());
    const heads = screen.getAllByRole('columnheader').map(({ textContent }) => textContent);
    expect(heads).toEqual(['', 'tensor ▴', 'shape', 'stored']);
  });

  it('are gone through by keys', async () => {
    const { user } = await open(model());
    const table = screen.getByTestId('theta-model-table');
    const cursor = (): string[] => texts('.theta-cursor .theta-name');
    act(() => table.focus());
    expect(cursor()).toEqual(['a.weight']);
    await user.keyboard('{ArrowDown}{ArrowDown}');
    expect(cursor()).toEqual(['b.weight']);
    expect(document.getElementById(table.getAttribute('aria-activedescendant') ?? '')?.dataset['name']).toBe(
      'b.weight'
    );
  });
});

describe('the columns of a model', () => {
  const ids = (tensors: ModelTensor[], size: number): string[] => columnsOf(tensors, size).map(({ id }) => id);

  it('are more the wider the table is, and all of them in the end', () => {
    const counts = [0, ...WIDTHS].map((_, size) => ids([tensor('a')], size).length);
    expect(counts).toEqual([3, 4, 5, 6, 7, 8, 9]);
    expect(counts.at(-1)).toBe(COLUMNS.length);
  });

  it('are left out if no tensor has anything to say there', () => {
    const silent = { norm: null, mean: null, largest: null };
    const all = ids([tensor('a', silent), tensor('b')], WIDTHS.length);
    expect(ids([tensor('a', silent)], WIDTHS.length)).toEqual(
      all.filter(id => !['norm', 'mean', 'largest'].includes(id))
    );
  });

  it.each([false, true])('put what has no value last (down: %s)', down => {
    const tensors = [tensor('a', { norm: null }), tensor('one', { norm: 1 }), tensor('two', { norm: 2 })];
    const found = sorted(tensors, { by: 'norm', down }).map(({ name }) => name);
    expect(found).toEqual(down ? ['two', 'one', 'a'] : ['one', 'two', 'a']);
  });

  it('keep equal ones in the order of their names, and do not touch what they sort', () => {
    const tensors = ['c', 'a', 'b'].map(name => tensor(name));
    expect(sorted(tensors, { by: 'norm', down: true }).map(({ name }) => name)).toEqual(['a', 'b', 'c']);
    expect(tensors.map(({ name }) => name)).toEqual(['c', 'a', 'b']);
  });

  it('count values: one of a scalar, none of what has no length', () => {
    expect([[], [4, 5], [3, 0]].map(sizeOf)).toEqual([1, 20, 0]);
  });
});

describe('loading a model', () => {
  it('is put into a notebook, and copied', async () => {
    const { user, actions } = await open(model());
    const code = 'from theta_jupyter import load';
    expect(screen.getByTestId('theta-model-code').textContent).toBe(code);
    await user.click(screen.getByRole('button', { name: 'Insert' }));
    expect(actions.insertCode).toHaveBeenCalledExactlyOnceWith(code);
    expect(actions.notify).not.toHaveBeenCalled();
    await user.click(screen.getByRole('button', { name: 'Copy' }));
    expect(actions.copy).toHaveBeenCalledExactlyOnceWith(code);
  });

  it('asks for a notebook if there is none', async () => {
    const { user, actions } = await open(model());
    actions.insertCode.mockReturnValue(false);
    await user.click(screen.getByRole('button', { name: 'Insert' }));
    expect(actions.notify).toHaveBeenCalledExactlyOnceWith(expect.stringContaining('Open a notebook first'), 'info');
  });
});

describe('the history of a model', () => {
  it('shows what each commit did to it', async () => {
    const { user, actions } = await open(model({ commits: [commit('c3', { parents: ['c2', 'x'] }), commit('c2')] }));
    await user.click(screen.getByText('subject of c3'));
    await user.click(screen.getByText('subject of c2'));
    const path = 'models/a.safetensors';
    expect(actions.openDiff.mock.calls).toEqual([[{ old: 'c2', new: 'c3', path }], [{ old: '', new: 'c2', path }]]);
  });

  it('may be empty', async () => {
    await open(model());
    expect(screen.getByText('No commit has it yet.')).toBeTruthy();
    expect(screen.getByTestId('theta-model-history').children).toHaveLength(0);
  });
});
