import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { BackendError } from '../src/api/backend';
import { announce, hear, type Topic } from '../src/api/page';
import { GIVEN_UP, SHOWN } from '../src/views/panel/session';
import { branch, change, commit, line, stage, status, type Stage } from './fakes';

/** Let all that waits for nothing but its turn happen. */
const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

/** A session that has seen everything. */
async function ready(...told: Parameters<typeof stage>): Promise<Stage> {
  const found = stage(...told);
  await settle();
  return found;
}

/** What the page is told by others. */
function topics(): Topic[] {
  const heard: Topic[] = [];
  endings.push(hear({}, topic => heard.push(topic)));
  return heard;
}

const endings: (() => void)[] = [];

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  endings.splice(0).forEach(end => end());
  vi.useRealTimers();
});

describe('looking', () => {
  it('asks for everything at first', async () => {
    const { session } = await ready({ commits: line(3), branches: [branch('main')] });
    const { status: seen, commits, branches, hasHistory, head, more } = session.get();
    expect(seen?.branch).toBe('main');
    expect(commits.map(({ id }) => id)).toEqual(['c0', 'c1', 'c2']);
    expect(branches?.branches).toHaveLength(1);
    expect([hasHistory, head, more]).toEqual([true, 'c0', false]);
  });

  it('does not heed an answer that a newer question has overtaken', async () => {
    const { session, backend } = await ready();
    backend.hold('status');
    void session.refresh();
    void session.refresh();
    const [older, newer] = backend.of('status').slice(-2);
    newer?.resolve(status({ branch: 'newer' }));
    await settle();
    older?.resolve(status({ branch: 'older' }));
    await settle();
    expect(session.get().status?.branch).toBe('newer');
  });

  it('shows why it cannot see anything, until it can', async () => {
    const { session, backend } = await ready();
    backend.hold('status');
    void session.refresh();
    backend.last('status').reject(new BackendError('the Jupyter server does not answer', 'Is it running?'));
    await settle();
    expect(session.get().unseen).toEqual({ message: 'the Jupyter server does not answer', hint: 'Is it running?' });
    void session.refresh();
    backend.last('status').resolve(status());
    await settle();
    expect(session.get().unseen).toBeNull();
  });

  it('shows how far a long look is', async () => {
    const { session, backend } = await ready();
    backend.hold('status');
    void session.refresh();
    const { options, resolve } = backend.last('status');
    options.onProgress?.({ what: 'model', done: 1, total: 2 });
    expect(session.get().busy?.progress).toEqual({ what: 'model', done: 1, total: 2 });
    resolve(status());
    await settle();
    expect(session.get().busy).toBeNull();
  });

  it('lets a long look be given up, and does not begin another unasked', async () => {
    const { session, backend, world } = await ready();
    backend.hold('status');
    void session.refresh();
    const { options, reject } = backend.last('status');
    options.signal?.addEventListener('abort', () => reject(new BackendError('it was cancelled')));
    const progress = { what: 'model', done: 1, total: 2 };
    options.onProgress?.(progress);
    expect(session.get().busy?.canCancel).toBe(false);
    await vi.advanceTimersByTimeAsync(GIVEN_UP);
    options.onProgress?.(progress);
    expect(session.get().busy).toMatchObject({ canCancel: true, progress });
    session.cancel();
    expect(session.get().busy).toEqual({ label: 'Giving up…', progress: null, canCancel: false });
    await settle();
    expect(session.get()).toMatchObject({ busy: null, failure: null });
    expect(session.get().unseen).toEqual({
      message: 'Looking at what changed was given up.',
      hint: 'Refresh to look again.'
    });
    const looks = backend.of('status').length;
    world.pulse = { key: 'k2', merge: 'm1' };
    await session.poll();
    expect(backend.of('status')).toHaveLength(looks);
    void session.refresh();
    expect(backend.last('status').options.signal?.aborted).toBe(false);
    backend.last('status').resolve(status({ key: 'k2' }));
    await settle();
    expect(session.get()).toMatchObject({ unseen: null, status: { key: 'k2' } });
  });

  it('gives up all looks, also those that others have overtaken', async () => {
    const { session, backend } = await ready();
    backend.hold('status');
    void session.refresh();
    void session.refresh();
    session.cancel();
    expect(backend.of('status').map(({ options }) => options.signal?.aborted)).toEqual([false, true, true]);
    void session.refresh();
    expect(backend.last('status').options.signal?.aborted).toBe(false);
  });

  it('gives up a change rather than a look', async () => {
    const { session, backend } = await ready();
    backend.hold('status', 'push');
    void session.refresh();
    void session.push();
    await settle();
    session.cancel();
    expect(backend.last('push').options.signal?.aborted).toBe(true);
    expect(backend.last('status').options.signal?.aborted).toBe(false);
  });

  it('looks again when the page says that something has changed', async () => {
    const { backend } = await ready();
    announce('merge', {});
    announce('repository', {});
    expect(backend.of('status')).toHaveLength(3);
  });

  it('hears nothing once it is disposed of', async () => {
    const { session, backend } = await ready();
    session.dispose();
    announce('repository', {});
    expect(backend.of('status')).toHaveLength(1);
  });
});

describe('polling', () => {
  it('looks only if something has happened', async () => {
    const { session, backend, world } = await ready();
    await session.poll();
    expect(backend.of('status')).toHaveLength(1);
    world.pulse = { key: 'k2', merge: 'm1' };
    world.status = status({ key: 'k2', branch: 'rte' });
    await session.poll();
    expect(session.get().status?.branch).toBe('rte');
    await session.poll();
    for (const method of ['status', 'history', 'branches'] as const) {
      expect(backend.of(method)).toHaveLength(2);
    }
  });

  it('tells the page of a merge only when that has changed', async () => {
    const { session, world } = await ready();
    const heard = topics();
    await session.poll();
    expect(heard).toEqual([]);
    world.pulse = { key: 'k1', merge: 'm2' };
    await session.poll();
    expect(heard).toEqual(['merge']);
    world.pulse = { key: 'k2', merge: 'm2' };
    world.status = status({ key: 'k2' });
    await session.poll();
    expect(heard).toEqual(['merge', 'repository']);
  });

  it('waits for a look that takes longer than the time between two polls', async () => {
    const { session, backend, world } = await ready();
    backend.hold('status');
    world.pulse = { key: 'k2', merge: 'm1' };
    void session.poll();
    await settle();
    const { resolve } = backend.last('status');
    await session.poll();
    await session.poll();
    expect(backend.of('status')).toHaveLength(2);
    resolve(status({ key: 'k2', branch: 'rte' }));
    await settle();
    expect(session.get().status?.branch).toBe('rte');
  });

  it('does not look in the middle of a change', async () => {
    const { session, backend, world } = await ready();
    backend.hold('stage');
    void session.stage(['a']);
    await settle();
    world.pulse = { key: 'k2', merge: 'm1' };
    await session.poll();
    expect(backend.of('status')).toHaveLength(1);
    backend.last('stage').resolve({ message: '', details: [] });
    await settle();
    expect(backend.of('status')).toHaveLength(2);
  });

  it('has all drawn anew once a minute: how long ago something was is written in it', async () => {
    vi.setSystemTime(new Date('2026-01-02T03:04:30Z'));
    const { session } = await ready();
    await session.poll();
    const first = session.get();
    await vi.advanceTimersByTimeAsync(29_000);
    await session.poll();
    expect(session.get()).toBe(first);
    await vi.advanceTimersByTimeAsync(1000);
    await session.poll();
    expect(session.get()).not.toBe(first);
  });

  it('says that nobody answers, and sees again when somebody does', async () => {
    const { session, backend, world } = await ready();
    backend.answers['pulse'] = () => {
      throw new BackendError('the Jupyter server does not answer');
    };
    await session.poll();
    expect(session.get().unseen?.message).toBe('the Jupyter server does not answer');
    backend.answers['pulse'] = () => world.pulse;
    await session.poll();
    expect(session.get().unseen).toBeNull();
  });
});

describe('older commits', () => {
  it('come page by page', async () => {
    const { session, backend } = await ready({ commits: line(120) }, { pageSize: 50 });
    await session.more();
    expect(session.get().commits).toHaveLength(120);
    expect(session.get().more).toBe(false);
    expect(backend.last('history').told).toMatchObject({ skip: 50 });
    await session.more();
    expect(backend.of('history')).toHaveLength(2);
  });

  it('are not asked for twice at once', async () => {
    const { session, backend } = await ready({ commits: line(120) }, { pageSize: 50 });
    void session.more();
    void session.more();
    await settle();
    expect(backend.of('history')).toHaveLength(2);
  });

  it('stay where they are when newer ones come', async () => {
    const { session, world } = await ready({ commits: line(700) }, { pageSize: 50 });
    while (session.get().more) {
      await session.more();
    }
    world.commits = [commit('new', { parents: ['c0'] }), ...world.commits];
    await session.refresh();
    expect(session.get().commits).toHaveLength(701);
    expect(
      session
        .get()
        .commits.slice(0, 2)
        .map(({ id }) => id)
    ).toEqual(['new', 'c0']);
  });

  it('are asked for again if the history changed meanwhile', async () => {
    const { session, backend, world } = await ready({ commits: line(120) }, { pageSize: 50 });
    backend.hold('history');
    const more = session.more();
    const page = backend.last('history');
    void session.refresh();
    backend.last('history').resolve({ commits: world.commits.slice(0, 50), more: true, head: 'c0' });
    await settle();
    page.resolve({ commits: world.commits.slice(50), more: false, head: 'c0' });
    await settle();
    expect(backend.of('history')).toHaveLength(4);
    backend.last('history').resolve({ commits: world.commits.slice(50), more: false, head: 'c0' });
    await more;
    expect(session.get().commits).toHaveLength(120);
  });

  it('are there once, even if pages overlap', async () => {
    const { session, backend } = await ready({ commits: line(120) }, { pageSize: 50 });
    backend.answers['history'] = () => ({ commits: line(120).slice(48), more: false, head: 'c0' });
    await session.more();
    expect(session.get().commits.map(({ id }) => id)).toEqual(line(120).map(({ id }) => id));
  });

  it('are more from the start if that is set', async () => {
    const { session, backend } = await ready({ commits: line(120) }, { pageSize: 50 });
    session.setPageSize(80);
    await settle();
    expect(session.get().commits).toHaveLength(80);
    session.setPageSize(80);
    session.setPageSize(20);
    await settle();
    expect(backend.of('history')).toHaveLength(2);
    expect(session.get().commits).toHaveLength(80);
  });

  it('say why they do not come', async () => {
    const { session, backend } = await ready({ commits: line(120) }, { pageSize: 50 });
    backend.hold('history');
    const more = session.more();
    backend.last('history').reject(new BackendError('no'));
    await more;
    expect(session.get().failure?.message).toBe('no');
  });

  it.each([50, 600])('are still there after a failure, also with %i in sight', async count => {
    const { session, backend } = await ready({ commits: line(700) }, { pageSize: 50 });
    while (session.get().commits.length < count) {
      await session.more();
    }
    const seen = session.get().commits.length;
    const answer = backend.answers['history'];
    backend.answers['history'] = () => {
      throw new BackendError('no');
    };
    await session.more();
    expect(session.get()).toMatchObject({ more: true, isStuck: true });
    backend.answers['history'] = answer ?? (() => null);
    await session.refresh();
    expect(session.get()).toMatchObject({ more: true, isStuck: false });
    expect(session.get().commits).toHaveLength(seen);
    await session.more();
    expect(session.get().commits.length).toBeGreaterThan(seen);
  });
});

describe('changing', () => {
  it('tells the page, says what was done, and looks again', async () => {
    const { session, backend, actions } = await ready();
    const heard = topics();
    expect(await session.stage(['a', 'b'])).toBe(true);
    await settle();
    expect(backend.last('stage').told).toEqual({ paths: ['a', 'b'] });
    expect(heard).toEqual(['repository']);
    expect(actions.notify).toHaveBeenCalledWith('done', 'success');
    for (const method of ['status', 'history', 'branches'] as const) {
      expect(backend.of(method)).toHaveLength(2);
    }
  });

  it('does one thing after the other', async () => {
    const { session, backend } = await ready();
    backend.hold('stage');
    void session.stage(['a']);
    void session.push();
    await settle();
    expect(backend.changes).toEqual(['stage']);
    backend.last('stage').resolve({ message: '', details: [] });
    await settle();
    expect(backend.changes).toEqual(['stage', 'push']);
  });

  it('does not let the next change wait for a look', async () => {
    const { session, backend } = await ready();
    backend.hold('status');
    void session.stage(['a']);
    void session.push();
    await settle();
    expect(backend.changes).toEqual(['stage', 'push']);
  });

  it('goes on after a failure', async () => {
    const { session, backend } = await ready();
    backend.hold('stage');
    void session.stage(['a']);
    void session.push();
    await settle();
    backend.last('stage').reject(new BackendError('no'));
    await settle();
    expect(backend.changes).toEqual(['stage', 'push']);
  });

  it('shows what goes on after a moment, and lets it be given up after a while', async () => {
    const { session, backend } = await ready();
    backend.hold('push');
    void session.push();
    await vi.advanceTimersByTimeAsync(SHOWN - 1);
    expect(session.get()).toMatchObject({ busy: null, isBusy: true });
    await vi.advanceTimersByTimeAsync(1);
    expect(session.get().busy).toEqual({ label: 'Pushing…', progress: null, canCancel: false });
    backend.last('push').options.onProgress?.({ what: 'objects', done: 3, total: 9 });
    expect(session.get().busy?.progress?.done).toBe(3);
    await vi.advanceTimersByTimeAsync(GIVEN_UP - SHOWN - 1);
    expect(session.get().busy?.canCancel).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(session.get().busy?.canCancel).toBe(true);
    session.cancel();
    backend.last('push').options.onProgress?.({ what: 'objects', done: 4, total: 9 });
    expect(session.get()).toMatchObject({ isBusy: true, busy: { label: 'Giving up…', canCancel: false } });
    backend.last('push').resolve({ message: 'pushed', details: [] });
    await settle();
    expect(session.get()).toMatchObject({ busy: null, isBusy: false });
  });

  it('is given up without a complaint', async () => {
    const { session, backend } = await ready();
    backend.hold('push');
    const done = session.push();
    await settle();
    const { options, reject } = backend.last('push');
    options.signal?.addEventListener('abort', () => reject(new BackendError('it was cancelled')));
    expect(options.signal?.aborted).toBe(false);
    session.cancel();
    expect(await done).toBe(false);
    await settle();
    expect(session.get()).toMatchObject({ failure: null, busy: null, isBusy: false });
    expect(backend.of('status')).toHaveLength(2);
  });

  it('keeps what went wrong through looks and polls, until it is dismissed', async () => {
    const { session, backend } = await ready();
    backend.answers['push'] = () => {
      throw new BackendError('the remote is ahead', 'Pull first.');
    };
    expect(await session.push()).toBe(false);
    await session.refresh();
    await session.poll();
    expect(session.get().failure).toEqual({ message: 'the remote is ahead', hint: 'Pull first.' });
    session.forgive();
    expect(session.get().failure).toBeNull();
  });

  it('forgets what went wrong when the next thing is tried', async () => {
    const { session, backend } = await ready();
    backend.answers['push'] = () => {
      throw new BackendError('the remote is ahead');
    };
    await session.push();
    await session.pull();
    expect(session.get().failure).toBeNull();
  });
});

describe('committing', () => {
  it('clears the message once it is done', async () => {
    const { session, backend } = await ready();
    session.setMessage('fine-tune on rte');
    await session.commit();
    expect(backend.last('commit').told).toEqual({ message: 'fine-tune on rte' });
    expect(session.get().message).toBe('');
  });

  it('keeps the message if it fails, and through looks', async () => {
    const { session, backend } = await ready();
    session.setMessage('draft');
    await session.refresh();
    expect(session.get().message).toBe('draft');
    backend.answers['commit'] = () => {
      throw new BackendError('a hook said no');
    };
    await session.commit();
    expect(session.get()).toMatchObject({ message: 'draft', failure: { message: 'a hook said no' } });
  });

  it('keeps what was written meanwhile', async () => {
    const { session, backend } = await ready();
    backend.hold('commit');
    session.setMessage('first');
    const done = session.commit();
    await settle();
    session.setMessage('second');
    backend.last('commit').resolve({ message: '', details: [] });
    await done;
    expect(session.get().message).toBe('second');
  });

  it('asks who commits, where Git does not know', async () => {
    const { session, backend } = await ready({ status: status({ identity: false }) });
    session.setMessage('x');
    await session.commit();
    expect(backend.changes).toEqual(['identify', 'commit']);
    expect(backend.last('identify').told).toEqual({ name: 'Ann', email: 'ann@example.org' });
  });

  it('does nothing if nobody says who', async () => {
    const { session, backend, actions } = await ready({ status: status({ identity: false }) });
    actions.askIdentity.mockResolvedValue(null);
    session.setMessage('x');
    await session.commit();
    expect(backend.changes).toEqual([]);
    expect(session.get().message).toBe('x');
  });

  it('does not commit under a name that was refused', async () => {
    const { session, backend } = await ready({ status: status({ identity: false }) });
    backend.answers['identify'] = () => {
      throw new BackendError('user.name cannot be that');
    };
    session.setMessage('x');
    await session.commit();
    expect(backend.changes).toEqual(['identify']);
    expect(session.get().failure?.message).toBe('user.name cannot be that');
  });
});

describe('what may lose something', () => {
  it('is done only by whoever is sure', async () => {
    const { session, backend, merges, actions } = await ready({ status: status({ changes: [change('a')] }) });
    actions.confirm.mockResolvedValue(false);
    await session.discard('a');
    await session.deleteBranch('rte');
    await session.abortMerge();
    expect([...backend.changes, ...merges.asked]).toEqual([]);
    actions.confirm.mockResolvedValue(true);
    await session.discard('a');
    await session.deleteBranch('rte');
    await session.abortMerge();
    expect(backend.changes).toEqual(['discard', 'delete_branch']);
    expect(merges.of('abort')).toHaveLength(1);
    expect(actions.confirm.mock.calls.every(([told]) => told.isDanger)).toBe(true);
  });

  it('offers force for a branch with commits that are nowhere else', async () => {
    const { session, backend, actions } = await ready();
    backend.answers['delete_branch'] = ({ force }: { force?: boolean }) => {
      if (!force) {
        throw new BackendError("error: The branch 'rte' is not fully merged.");
      }
      return { message: 'deleted', details: [] };
    };
    await session.deleteBranch('rte');
    expect(actions.confirm).toHaveBeenCalledTimes(2);
    expect(backend.of('delete_branch').map(({ told }) => told)).toEqual([
      { name: 'rte' },
      { name: 'rte', force: true }
    ]);
    expect(session.get().failure).toBeNull();
  });

  it('does not offer force for any other failure', async () => {
    const { session, backend, actions } = await ready();
    backend.answers['delete_branch'] = () => {
      throw new BackendError('there is no branch rte');
    };
    await session.deleteBranch('rte');
    expect(actions.confirm).toHaveBeenCalledTimes(1);
    expect(session.get().failure?.message).toBe('there is no branch rte');
  });
});

describe('merging', () => {
  it('merges by the strategy that was chosen, and tells the page of a merge', async () => {
    const { session, backend } = await ready();
    const heard = topics();
    await session.mergeBranch('rte');
    expect(backend.last('merge').told).toEqual({ branch: 'rte', strategy: 'average', parameters: {} });
    expect(heard).toEqual(['repository', 'merge']);
  });

  it('does not merge if no strategy is chosen', async () => {
    const { session, backend, actions } = await ready();
    actions.askStrategy.mockResolvedValue(null);
    await session.mergeBranch('rte');
    expect(backend.changes).toEqual([]);
  });

  it('shows why nobody could be asked', async () => {
    const { session, actions } = await ready();
    actions.askStrategy.mockRejectedValue(new BackendError('the Jupyter server does not answer'));
    await session.mergeBranch('rte');
    expect(session.get().failure?.message).toBe('the Jupyter server does not answer');
  });

  it('goes on with a merge, or back', async () => {
    const { session, merges, actions } = await ready();
    const heard = topics();
    await session.continueMerge();
    expect(merges.last('finish').told).toEqual({ message: '' });
    expect(actions.notify).toHaveBeenLastCalledWith('merged', 'success');
    await session.abortMerge();
    expect(actions.notify).toHaveBeenLastCalledWith('as before', 'success');
    expect(heard).toEqual(['repository', 'merge', 'repository', 'merge']);
  });
});

describe('branches and commits', () => {
  it('makes a branch of the name that was given, if one was', async () => {
    const { session, backend, actions } = await ready();
    await session.createBranch('c3');
    expect(backend.last('create_branch').told).toEqual({ name: 'idea', start: 'c3' });
    actions.ask.mockResolvedValue(null);
    await session.createBranch();
    expect(backend.of('create_branch')).toHaveLength(1);
  });

  it('compares two commits, the older one first, whichever was clicked first', async () => {
    const { session, actions } = await ready({ commits: line(5) });
    session.compare('c1');
    session.show('c3');
    session.compare('c3');
    session.show('c1');
    expect(actions.openDiff.mock.calls).toEqual([[{ old: 'c3', new: 'c1' }], [{ old: 'c3', new: 'c1' }]]);
    expect(session.get().comparing).toBe('');
  });

  it('opens and closes sections', async () => {
    const { session } = await ready({}, { open: { history: false } });
    expect(session.get().open).toMatchObject({ changes: true, history: false });
    session.setOpen('history', true);
    expect(session.get().open.history).toBe(true);
  });
});
