import { act, fireEvent, render, screen, waitFor, within } from '@testing-library/react';
import userEvent, { type UserEvent } from '@testing-library/user-event';
import { describe, expect, it, vi } from 'vitest';

import { BackendError } from '../src/api/backend';
import { EmptyPanel, PanelView } from '../src/views/panel';
import { WordsContext, english } from '../src/views/panel/actions';
import { branch, change, commit, line, merging, stage, status, type Stage, type World } from './fakes';

interface Shown extends Stage {
  user: UserEvent;
  onInit: ReturnType<typeof vi.fn<() => void>>;
}

/** The panel, once everything has been answered; `setUp` goes first. */
async function show(world: Partial<World> = {}, setUp: (stage: Stage) => void = () => undefined): Promise<Shown> {
  const found = stage(world, { open: { branches: true } });
  setUp(found);
  const onInit = vi.fn<() => void>();
  const { session, actions } = found;
  render(<PanelView session={session} actions={actions} name="my-project" onInit={onInit} />);
  await waitFor(() => expect(screen.getByTestId('theta-panel').dataset['ready']).toBe('true'));
  return { ...found, user: userEvent.setup(), onInit };
}

const section = (name: string): HTMLElement => screen.getByTestId(`theta-section-${name}`);

/** A row of a list, and what takes the focus in it. */
function row(kind: 'change' | 'branch' | 'history' | 'conflict', index: number): HTMLElement {
  const found = screen.getAllByTestId(`theta-${kind}-row`)[index];
  if (!found) {
    throw new Error(`no ${kind} row ${index}`);
  }
  return found;
}

function main(kind: 'change' | 'branch' | 'conflict', index: number): HTMLElement {
  const found = row(kind, index).querySelector<HTMLElement>('[data-main]');
  if (!found) {
    throw new Error(`nothing to focus in ${kind} row ${index}`);
  }
  return found;
}

const tool = (of: HTMLElement, name: string | RegExp): HTMLElement => within(of).getByRole('button', { name });

/** Scroll, which moves the list up. */
async function scroll(top: number): Promise<void> {
  vi.spyOn(Element.prototype, 'getBoundingClientRect').mockImplementation(function (this: Element) {
    return new DOMRect(0, this.classList.contains('theta-history') ? -top : 0, 320, 28);
  });
  await act(async () => {
    document.querySelector('.theta-scroll')?.scrollTo({ top });
    await Promise.resolve();
  });
}

/** What would run, draw or point elsewhere if a name were more than text. */
const HOSTILE = '<img src=x onerror=alert(1)>\u202egnp.\u0007';
const HOSTILE_TEXT = '<img src=x onerror=alert(1)>\\u202egnp.\\x07';

const MODELS = [
  change('models/a.safetensors', { staged: true, state: 'staged' }),
  change('b.safetensors'),
  change('new.npz', { letter: 'A', state: 'new', miniature: null, stores: 5e6 }),
  change('gone.pt', { letter: 'D', state: 'deleted' }),
  change('c.safetensors', { letter: '?', state: 'untracked' })
];

describe('the panel', () => {
  it('says where one is', async () => {
    await show({ status: status({ branch: 'rte', upstream: { name: 'origin/rte', ahead: 1, behind: 2 } }) });
    expect(screen.getByRole('heading', { name: 'my-project' })).toBeTruthy();
    expect(screen.getByTestId('theta-panel').textContent).toContain('rte ↑1 ↓2');
  });

  it('says so where HEAD is on no branch', async () => {
    await show({ status: status({ branch: '1234567', detached: true }) });
    expect(screen.getByText('at 1234567')).toBeTruthy();
  });

  it('pushes, pulls and refreshes, and does not offer a remote that is not there', async () => {
    const { user, backend } = await show({ status: status({ remotes: ['origin'] }) });
    await user.click(screen.getByRole('button', { name: 'Push' }));
    await user.click(screen.getByRole('button', { name: 'Pull' }));
    expect(backend.changes).toEqual(['push', 'pull']);
    const looks = backend.of('status').length;
    await user.click(screen.getByRole('button', { name: 'Refresh' }));
    expect(backend.of('status')).toHaveLength(looks + 1);
  });

  it('has nothing to push to without a remote', async () => {
    await show();
    expect(screen.queryByRole('button', { name: 'Push' })).toBeNull();
  });

  it('draws what was there before it was opened', async () => {
    const { session, actions } = stage({ commits: line(3) });
    await waitFor(() => expect(session.get().hasHistory).toBe(true));
    render(<PanelView session={session} actions={actions} name="x" onInit={() => undefined} />);
    expect(screen.getAllByTestId('theta-history-row')).toHaveLength(3);
  });

  it('folds sections, and keeps that', async () => {
    const { user, session } = await show({ commits: line(2) });
    const head = within(section('history')).getByRole('button', { name: 'History' });
    expect(head.getAttribute('aria-expanded')).toBe('true');
    await user.click(head);
    expect(head.getAttribute('aria-expanded')).toBe('false');
    expect(screen.queryByTestId('theta-history-row')).toBeNull();
    expect(session.get().open.history).toBe(false);
  });

  it('shows what goes on, and gives it up', async () => {
    vi.useFakeTimers();
    try {
      const { session, backend, actions } = stage();
      render(<PanelView session={session} actions={actions} name="x" onInit={() => undefined} />);
      backend.hold('push');
      act(() => void session.push());
      await act(() => vi.advanceTimersByTimeAsync(500));
      const busy = screen.getByTestId('theta-busy');
      expect(busy.textContent).toBe('Pushing…');
      expect(within(busy).queryByRole('button')).toBeNull();
      await act(() => vi.advanceTimersByTimeAsync(2000));
      fireEvent.click(within(busy).getByRole('button', { name: 'Cancel' }));
      expect(backend.last('push').options.signal?.aborted).toBe(true);
    } finally {
      vi.useRealTimers();
    }
  });

  it('shows what went wrong until it is dismissed', async () => {
    const { user } = await show({ status: status({ remotes: ['origin'] }) }, ({ backend }) => {
      backend.answers['push'] = () => {
        throw new BackendError(`${HOSTILE} is ahead`, 'Pull first.');
      };
    });
    await user.click(screen.getByRole('button', { name: 'Push' }));
    const failure = await screen.findByTestId('theta-failure');
    expect(failure.textContent).toBe(`${HOSTILE_TEXT} is aheadPull first.`);
    await user.click(within(failure).getByRole('button', { name: 'Dismiss' }));
    expect(screen.queryByTestId('theta-failure')).toBeNull();
  });

  it('offers to set Theta up where it is not', async () => {
    const { user, onInit } = await show({ status: status({ ready: false }) });
    await user.click(screen.getByRole('button', { name: 'Set up' }));
    expect(onInit).toHaveBeenCalledOnce();
  });

  it('speaks the language it is given', async () => {
    const { session, actions } = stage({ commits: [] });
    const words = {
      ...english,
      __: (text: string, ...values: (string | number)[]) => `«${english.__(text, ...values)}»`
    };
    render(
      <WordsContext.Provider value={words}>
        <PanelView session={session} actions={actions} name="x" onInit={() => undefined} />
      </WordsContext.Provider>
    );
    expect(await screen.findByText('«No commit yet.»')).toBeTruthy();
    expect(screen.getByRole('button', { name: '«Changes»' })).toBeTruthy();
  });
});

describe('an empty panel', () => {
  const found = { repository: null, name: 'experiments', ready: false, reason: '' };

  it('has one button and one sentence', async () => {
    const onInit = vi.fn();
    render(<EmptyPanel found={found} onInit={onInit} />);
    expect(screen.getByTestId('theta-panel').textContent).toContain('Models in experiments have no versions yet');
    await userEvent.click(screen.getByRole('button', { name: 'Initialize a repository' }));
    expect(onInit).toHaveBeenCalledOnce();
    expect(screen.getAllByRole('button')).toHaveLength(1);
  });

  it('has no button where there can be no repository', () => {
    render(<EmptyPanel found={{ ...found, reason: 'this folder is not below the root' }} onInit={() => undefined} />);
    expect(screen.getByText('this folder is not below the root')).toBeTruthy();
    expect(screen.queryByRole('button')).toBeNull();
  });
});

describe('changes', () => {
  it('are grouped, and each says how much', async () => {
    await show({ status: status({ changes: MODELS }) });
    const texts = (group: string): (string | null)[] =>
      within(within(section('changes')).getByRole('group', { name: group }))
        .getAllByTestId('theta-change-row')
        .map(({ textContent }) => textContent);
    expect(texts('Staged')).toEqual(['Ma.safetensors models~0.0017']);
    expect(texts('Changed')).toEqual(['Mb.safetensors~0.0017', 'Anew.npz5 MB', 'Dgone.ptdeleted']);
    expect(texts('Not tracked')).toEqual(['?c.safetensorstrack']);
    expect(main('change', 1).title).toBe('b.safetensors\n101 of 104 tensors, ~0.0017');
  });

  it('open, are staged, unstaged, discarded and tracked', async () => {
    const { user, backend, actions } = await show({ status: status({ changes: MODELS }) });
    await user.click(main('change', 0));
    expect(actions.openDiff).toHaveBeenLastCalledWith({ old: 'HEAD', new: '', path: 'models/a.safetensors' });
    await user.click(tool(row('change', 1), 'Show changes of b.safetensors'));
    expect(actions.openDiff).toHaveBeenLastCalledWith({ old: 'HEAD', new: '', path: 'b.safetensors' });
    await user.click(tool(row('change', 0), 'Unstage a.safetensors'));
    expect(backend.last('unstage').told).toEqual({ paths: ['models/a.safetensors'] });
    await user.click(tool(row('change', 1), 'Stage b.safetensors'));
    expect(backend.last('stage').told).toEqual({ paths: ['b.safetensors'] });
    await user.click(tool(row('change', 1), 'Discard changes of b.safetensors'));
    await waitFor(() => expect(backend.last('discard').told).toEqual({ paths: ['b.safetensors'] }));
    await user.click(tool(row('change', 4), 'Track c.safetensors'));
    expect(backend.last('track').told).toEqual({ paths: ['c.safetensors'] });
  });

  it('are gone through with arrow keys, and Tab goes on to what can be done', async () => {
    const { user, actions } = await show({ status: status({ changes: MODELS }) });
    act(() => main('change', 0).focus());
    await user.keyboard('{ArrowDown}');
    expect(document.activeElement).toBe(main('change', 1));
    await user.keyboard('{Enter}');
    expect(actions.openDiff).toHaveBeenLastCalledWith({ old: 'HEAD', new: '', path: 'b.safetensors' });
    await user.keyboard('{Tab}');
    expect(document.activeElement).toBe(tool(row('change', 1), 'Show changes of b.safetensors'));
    await user.keyboard('{End}');
    expect(document.activeElement).toBe(main('change', 4));
    await user.keyboard('{ArrowDown}{Home}');
    expect(document.activeElement).toBe(main('change', 0));
    // One row alone is reached by Tab, with what can be done with it.
    const reached = [...section('changes').querySelectorAll<HTMLElement>('[data-row] button')];
    expect(new Set(reached.filter(({ tabIndex }) => tabIndex === 0).map(found => found.closest('[data-row]')))).toEqual(
      new Set([row('change', 0)])
    );
  });

  it('are committed by the button, and by the keyboard', async () => {
    const { user, backend } = await show({ status: status({ changes: MODELS }) });
    const box = screen.getByRole('textbox', { name: 'Message of the commit' });
    const button = screen.getByTestId<HTMLButtonElement>('theta-commit');
    expect(button.disabled).toBe(true);
    await user.type(box, 'first');
    await user.click(button);
    expect(backend.last('commit').told).toEqual({ message: 'first' });
    await waitFor(() => expect((box as HTMLTextAreaElement).value).toBe(''));
    await user.keyboard('{Control>}{Enter}{/Control}');
    expect(backend.of('commit')).toHaveLength(1);
    await user.type(box, 'second{Meta>}{Enter}{/Meta}');
    expect(backend.last('commit').told).toEqual({ message: 'second' });
  });

  it('say what a commit would take along, and what it would store', async () => {
    await show({ status: status({ changes: MODELS, also_staged: ['train.py', 'x'] }) });
    expect(screen.getByTestId('theta-commit').textContent).toBe('Commit staged');
    expect(screen.getByTestId('theta-stores').textContent).toBe('will store 33 MB of 91 MB');
    expect(screen.getByText('and 2 other staged files')).toBeTruthy();
  });

  it('are all committed where none is staged', async () => {
    await show({ status: status({ changes: MODELS.slice(1, 2) }) });
    expect(screen.getByTestId('theta-commit').textContent).toBe('Commit all');
  });

  it('say that there are none', async () => {
    await show();
    expect(section('changes').textContent).toContain('Every tracked model is as in HEAD.');
    expect(screen.getByTestId<HTMLButtonElement>('theta-commit').disabled).toBe(true);
  });

  it('show names as text, and what cannot be seen in them', async () => {
    await show({ status: status({ changes: [change(HOSTILE)] }) });
    expect(row('change', 0).textContent).toContain(HOSTILE_TEXT);
    expect(document.querySelector('img')).toBeNull();
  });
});

describe('conflicts', () => {
  it('are not there without a merge', async () => {
    await show();
    expect(screen.queryByTestId('theta-section-conflicts')).toBeNull();
  });

  it('say how many are left, and lead to the resolver', async () => {
    const { user, actions } = await show({ status: status({ merge: merging() }) });
    const { textContent } = section('conflicts');
    expect(textContent).toContain('Merging rte into main');
    expect(textContent).toContain('3 left of 38');
    expect(screen.getByTestId<HTMLButtonElement>('theta-continue').disabled).toBe(true);
    await user.click(screen.getByTestId('theta-resolve'));
    expect(actions.openMerge).toHaveBeenLastCalledWith();
    await user.click(main('conflict', 0));
    expect(actions.openMerge).toHaveBeenLastCalledWith('models/a.safetensors');
    // A merge is not ended by a commit from here.
    expect(screen.queryByTestId('theta-commit')).toBeNull();
  });

  it('can be left behind once all is decided', async () => {
    const files = [{ path: 'a.safetensors', conflicts: 38, left: 0 }];
    const { user, merges } = await show({ status: status({ merge: merging({ files }) }) });
    expect(section('conflicts').textContent).toContain('all decided');
    await user.click(screen.getByTestId('theta-continue'));
    expect(merges.of('finish')).toHaveLength(1);
  });

  it('cannot be left behind while other files are in conflict', async () => {
    const files = [{ path: 'a.safetensors', conflicts: 38, left: 0 }];
    await show({ status: status({ merge: merging({ files, others: ['train.py', HOSTILE] }) }) });
    expect(screen.getByTestId<HTMLButtonElement>('theta-continue').disabled).toBe(true);
    expect(section('conflicts').textContent).toContain(`train.py, ${HOSTILE_TEXT}`);
  });

  it('are aborted only by whoever is sure', async () => {
    const { user, merges, actions } = await show({ status: status({ merge: merging() }) });
    actions.confirm.mockResolvedValueOnce(false);
    await user.click(screen.getByTestId('theta-abort'));
    expect(merges.of('abort')).toHaveLength(0);
    await user.click(screen.getByTestId('theta-abort'));
    await waitFor(() => expect(merges.of('abort')).toHaveLength(1));
  });
});

describe('history', () => {
  it('says that there is none', async () => {
    await show({ status: status({ commits: false }) });
    expect(section('history').textContent).toContain('No commit yet.');
    expect(section('changes').textContent).toContain('Nothing is tracked yet.');
  });

  it('shows names of commits, each kind in a shape of its own', async () => {
    const refs = [
      { name: 'main', kind: 'branch', current: true },
      { name: 'rte', kind: 'branch', current: false },
      { name: 'origin/main', kind: 'remote', current: false },
      { name: 'v1', kind: 'tag', current: false }
    ] as const;
    await show({ commits: [commit('c0', { refs: [...refs] })] });
    const looks = refs.map(({ name }) => within(row('history', 0)).getByText(name).className);
    expect(new Set(looks).size).toBe(4);
  });

  it('draws what is in sight, of however many there are, and asks for more at the end', async () => {
    const { session, backend } = await show({ commits: line(10_000) });
    await waitFor(() => expect(screen.getAllByTestId('theta-history-row').length).toBeGreaterThan(10));
    expect(screen.getAllByTestId('theta-history-row').length).toBeLessThan(60);
    const before = backend.of('history').length;
    expect(session.get().commits).toHaveLength(50);
    await scroll(30 * 28);
    await waitFor(() => expect(backend.of('history').length).toBe(before + 1));
    expect(session.get().commits).toHaveLength(150);
    expect(document.querySelector('[data-id="c49"]')).toBeTruthy();
    expect(document.querySelector('[data-id="c80"]')).toBeNull();
    expect(screen.getAllByTestId('theta-history-row').length).toBeLessThan(60);
  });

  it('asks for more once, and again only when told to, if that fails', async () => {
    const { session, backend, user } = await show({ commits: line(120) });
    const answer = backend.answers['history'];
    backend.answers['history'] = () => {
      throw new BackendError('no');
    };
    await scroll(30 * 28);
    const again = await screen.findByRole('button', { name: 'Try again' });
    const tries = backend.of('history').length;
    await scroll(31 * 28);
    expect(backend.of('history')).toHaveLength(tries);
    backend.answers['history'] = answer ?? (() => null);
    await user.click(again);
    await waitFor(() => expect(session.get().commits).toHaveLength(120));
    expect(screen.queryByRole('button', { name: 'Try again' })).toBeNull();
  });

  it('says how long ago a commit was made, also when time has passed', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-01-02T03:04:50Z') });
    try {
      const { session } = await show({ commits: [commit('c0', { date: '2026-01-02T03:04:40Z' })] });
      const note = (): string | undefined => row('history', 0).querySelector('.theta-line-note')?.textContent;
      expect(note()).toBe('now');
      vi.setSystemTime(new Date('2026-01-02T03:07:00Z'));
      await act(() => session.poll());
      expect(note()).toBe('2 min');
    } finally {
      vi.useRealTimers();
    }
  });

  it('can be reached by Tab wherever one has scrolled to', async () => {
    await show({ commits: line(50) });
    await scroll(30 * 28);
    await waitFor(() => expect(document.querySelector('[data-id="c40"]')).toBeTruthy());
    expect(document.querySelector('[data-id="c15"]')).toBeNull();
    expect(screen.getAllByTestId('theta-history-row').map(({ tabIndex }) => tabIndex)).toContain(0);
  });

  it('is gone through with keys, also to where nothing is drawn yet', async () => {
    const { user } = await show({ commits: line(50) });
    act(() => row('history', 0).focus());
    await user.keyboard('{ArrowDown}{Enter}');
    expect(document.activeElement?.getAttribute('data-id')).toBe('c1');
    expect(document.activeElement?.getAttribute('aria-expanded')).toBe('true');
    expect(document.querySelector('[data-id="c49"]')).toBeNull();
    await user.keyboard('{End}');
    await waitFor(() => expect(document.activeElement?.getAttribute('data-id')).toBe('c49'));
  });

  const whole = commit('a'.repeat(40), {
    body: 'Because.\nTwice.',
    parents: ['b'.repeat(40)],
    models: ['m/x"y.safetensors'],
    stored: 33e6,
    derived_from: ['base-model'],
    merged_by: ['*: linear'],
    miniatures: [{ path: 'm/x"y.safetensors', blocks: ['0'], values: [0.1], text: 'one block changed' }]
  });

  it('shows a commit whole', async () => {
    const { user } = await show({ commits: [whole] });
    await user.click(row('history', 0));
    const { textContent } = screen.getByTestId('theta-commit-details');
    for (const part of ['Ann', 'Because.\nTwice.', 'm/x"y.safetensors', '33 MB', 'base-model', '*: linear', whole.id]) {
      expect(textContent).toContain(part);
    }
    await user.click(row('history', 0));
    expect(screen.queryByTestId('theta-commit-details')).toBeNull();
  });

  it('does things with a commit', async () => {
    const { user, backend, actions } = await show({ commits: [whole] });
    const [id, parent] = [whole.id, whole.parents[0]];
    await user.click(row('history', 0));
    const details = screen.getByTestId('theta-commit-details');
    await user.click(tool(details, 'Diff with parent'));
    expect(actions.openDiff).toHaveBeenLastCalledWith({ old: parent, new: id });
    await user.click(tool(details, 'Diff with work tree'));
    expect(actions.openDiff).toHaveBeenLastCalledWith({ old: id, new: '' });
    await user.click(tool(details, 'Check out this model'));
    expect(backend.last('restore').told).toEqual({ ref: id, path: 'm/x"y.safetensors' });
    await user.click(tool(details, 'New branch from here…'));
    await waitFor(() => expect(backend.last('create_branch').told).toEqual({ name: 'idea', start: id }));
    await user.click(tool(details, /Copy id/));
    expect(actions.copy).toHaveBeenLastCalledWith(id);
    await user.click(tool(details, 'Insert loading code'));
    expect(actions.insertCode).toHaveBeenLastCalledWith(
      `from theta_jupyter import load\n\ntensors = load("m/x\\"y.safetensors", ref="${id.slice(0, 12)}")`
    );
    expect(actions.notify).not.toHaveBeenCalledWith(expect.stringContaining('no notebook'), 'info');
    actions.insertCode.mockReturnValue(false);
    await user.click(tool(details, 'Insert loading code'));
    expect(actions.notify).toHaveBeenLastCalledWith(expect.stringContaining('no notebook'), 'info');
  });

  it('compares one commit with the next that is clicked, or does not', async () => {
    const { user, actions } = await show({ commits: line(3) });
    await user.click(row('history', 0));
    await user.click(tool(screen.getByTestId('theta-commit-details'), 'Compare with…'));
    await user.click(screen.getByRole('button', { name: 'Never mind' }));
    expect(screen.queryByRole('button', { name: 'Never mind' })).toBeNull();
    await user.click(tool(screen.getByTestId('theta-commit-details'), 'Compare with…'));
    await user.click(row('history', 2));
    expect(actions.openDiff.mock.calls).toEqual([[{ old: 'c2', new: 'c0' }]]);
  });

  it('shows what strangers wrote as text', async () => {
    await show({
      commits: [
        commit('c0', {
          subject: HOSTILE,
          author: HOSTILE,
          body: HOSTILE,
          models: [HOSTILE],
          refs: [{ name: HOSTILE, kind: 'tag', current: false }],
          derived_from: [HOSTILE],
          merged_by: [HOSTILE]
        })
      ]
    });
    await userEvent.click(row('history', 0));
    const text = section('history').textContent;
    expect(text.split(HOSTILE_TEXT)).toHaveLength(8);
    expect(text).not.toContain('\u202e');
    expect(document.querySelector('img')).toBeNull();
  });
});

describe('branches', () => {
  const BRANCHES = [
    branch('main', { current: true, upstream: { name: 'origin/main', ahead: 1, behind: 0 } }),
    branch('rte'),
    branch('team/origin/lora', { remote: true })
  ];
  const remotes = status({ remotes: ['team/origin'] });

  it('mark the current one, and how far it is from what it follows', async () => {
    await show({ branches: BRANCHES });
    expect(main('branch', 0).getAttribute('aria-current')).toBe('true');
    expect(main('branch', 1).getAttribute('aria-current')).toBeNull();
    expect(row('branch', 0).textContent).toContain('↑1 ↓0');
    expect(row('branch', 1).textContent).toContain('tip of rte');
    expect(within(row('branch', 0)).getAllByRole('button')).toHaveLength(1);
  });

  it('are switched to, merged and deleted', async () => {
    const { user, backend, actions } = await show({ branches: BRANCHES });
    await user.click(tool(row('branch', 1), 'Switch to rte'));
    expect(backend.last('switch').told).toEqual({ branch: 'rte' });
    await user.click(tool(row('branch', 1), 'Merge rte into main'));
    expect(actions.askStrategy).toHaveBeenLastCalledWith('rte');
    await waitFor(() => expect(backend.last('merge').told).toMatchObject({ branch: 'rte' }));
    await user.click(tool(row('branch', 1), 'Delete rte'));
    await waitFor(() => expect(backend.last('delete_branch').told).toEqual({ name: 'rte' }));
  });

  it('of a remote become branches here, without its name', async () => {
    const { user, backend } = await show({ branches: BRANCHES, status: remotes });
    expect(within(row('branch', 2)).queryByRole('button', { name: /Delete/ })).toBeNull();
    await user.click(main('branch', 2));
    expect(backend.last('switch').told).toEqual({ branch: 'lora' });
  });

  it('are made and fetched', async () => {
    const { user, backend } = await show({ branches: BRANCHES, status: remotes });
    await user.click(screen.getByTestId('theta-new-branch'));
    await waitFor(() => expect(backend.last('create_branch').told).toEqual({ name: 'idea', start: '' }));
    await user.click(tool(section('branches'), 'Fetch'));
    await waitFor(() => expect(backend.of('fetch')).toHaveLength(1));
  });

  it('are not merged while a merge is in progress', async () => {
    await show({ branches: BRANCHES, status: status({ merge: merging() }) });
    expect((tool(row('branch', 1), 'Merge rte into main') as HTMLButtonElement).disabled).toBe(true);
  });

  it('are looked for by name where there are many', async () => {
    const names = Array.from({ length: 12 }, (_, index) => branch(`topic-${index}`));
    const { user } = await show({ branches: names });
    await user.type(screen.getByRole('searchbox', { name: 'Filter branches' }), 'TOPIC-1');
    expect(screen.getAllByTestId('theta-branch-row').map(({ dataset }) => dataset['name'])).toEqual([
      ...['topic-1', 'topic-10', 'topic-11']
    ]);
  });

  it('are not looked for where there are few', async () => {
    await show({ branches: BRANCHES });
    expect(screen.queryByRole('searchbox')).toBeNull();
  });

  it('are gone through with arrow keys', async () => {
    const { user, backend } = await show({ branches: BRANCHES });
    act(() => main('branch', 0).focus());
    await user.keyboard('{ArrowDown}{Enter}');
    expect(backend.last('switch').told).toEqual({ branch: 'rte' });
  });

  it('show names as text', async () => {
    await show({ branches: [branch(HOSTILE, { subject: HOSTILE })] });
    expect(row('branch', 0).textContent.split(HOSTILE_TEXT)).toHaveLength(3);
    expect(document.querySelector('img')).toBeNull();
  });
});
