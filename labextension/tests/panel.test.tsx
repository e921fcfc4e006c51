import { act, fireEvent, render, screen, waitFor, within } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { describe, expect, it, vi } from 'vitest';

import { BackendError } from '../src/api/backend';
import { EmptyPanel, PanelView } from '../src/views/panel';
import { WordsContext, english } from '../src/views/panel/actions';
import { commit, line, stage, status } from './fakes';
import { show } from './show';

const section = (name: string): HTMLElement => screen.getByTestId(`theta-section-${name}`);

/** A row of the history. */
function row(index: number): HTMLElement {
  const found = screen.getAllByTestId('theta-history-row')[index];
  if (!found) {
    throw new Error(`no row ${index}`);
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

describe('the panel', () => {
  it('says where one is', async () => {
    const found = status({ branch: 'rte', upstream: { name: 'origin/rte', ahead: 1, behind: 2 } });
    await show({ status: found }, { name: 'my-project' });
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
    const { user, backend } = await show({ status: status({ remotes: ['origin'] }) });
    backend.answers['push'] = () => {
      throw new BackendError('the remote is ahead', 'Pull first.');
    };
    await user.click(screen.getByRole('button', { name: 'Push' }));
    const failure = await screen.findByTestId('theta-failure');
    expect(failure.textContent).toBe('the remote is aheadPull first.');
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

describe('history', () => {
  it('says that there is none', async () => {
    await show({ status: status({ commits: false }) });
    expect(section('history').textContent).toContain('No commit yet.');
  });

  it('shows names of commits, each kind in a shape of its own', async () => {
    const refs = [
      { name: 'main', kind: 'branch', current: true },
      { name: 'rte', kind: 'branch', current: false },
      { name: 'origin/main', kind: 'remote', current: false },
      { name: 'v1', kind: 'tag', current: false }
    ] as const;
    await show({ commits: [commit('c0', { refs: [...refs] })] });
    const looks = refs.map(({ name }) => within(row(0)).getByText(name).className);
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
      const note = (): string | undefined => row(0).querySelector('.theta-line-note')?.textContent;
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
    act(() => row(0).focus());
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
    await user.click(row(0));
    const { textContent } = screen.getByTestId('theta-commit-details');
    for (const part of ['Ann', 'Because.\nTwice.', 'm/x"y.safetensors', '33 MB', 'base-model', '*: linear', whole.id]) {
      expect(textContent).toContain(part);
    }
    await user.click(row(0));
    expect(screen.queryByTestId('theta-commit-details')).toBeNull();
  });

  it('does things with a commit', async () => {
    const { user, backend, actions } = await show({ commits: [whole] });
    const [id, parent] = [whole.id, whole.parents[0]];
    await user.click(row(0));
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
    await user.click(row(0));
    await user.click(tool(screen.getByTestId('theta-commit-details'), 'Compare with…'));
    await user.click(screen.getByRole('button', { name: 'Never mind' }));
    expect(screen.queryByRole('button', { name: 'Never mind' })).toBeNull();
    await user.click(tool(screen.getByTestId('theta-commit-details'), 'Compare with…'));
    await user.click(row(2));
    expect(actions.openDiff.mock.calls).toEqual([[{ old: 'c2', new: 'c0' }]]);
  });
});
