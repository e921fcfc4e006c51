import { afterEach, describe, expect, it, vi } from 'vitest';

import { BackendError, type Happening } from '../src/api/backend';
import type { MergeQuestions, MergeState } from '../src/api/merge';
import { OpenMerge } from '../src/api/open';
import { announce, hear, type Topic } from '../src/api/page';
import { FakeBackend } from './fakes';

const ends: (() => void)[] = [];

afterEach(() => ends.splice(0).forEach(end => end()));

function merge(revision: number, part: Partial<MergeState> = {}): MergeState {
  const version = { name: 'main', subject: '', commit: 'c1' };
  return {
    ...{ revision, kind: 'merge', title: '', ours: version, theirs: { ...version, commit: 'c2' }, base: null },
    ...{ message: '', files: [], others: [], rules: [], can_undo: false, left: 0, outcome: '' },
    ...part
  };
}

/** Somebody who can also be heard. */
class Telling extends FakeBackend<MergeQuestions> {
  tell: (happening: Happening) => void = () => undefined;

  override listen(heard?: (happening: Happening) => void): () => void {
    this.tell = heard ?? this.tell;
    return () => {
      this.tell = () => undefined;
    };
  }
}

interface Opened {
  backend: Telling;
  open: OpenMerge;
  /** What it passes on. */
  heard: Happening[];
  /** What others on the page hear. */
  topics: Topic[];
  stop: () => void;
}

/** A merge in its first revision, that somebody listens to. */
function opened(): Opened {
  const choice = (): unknown => ({ state: merge(2), rows: [] });
  const backend = new Telling({
    merge: () => merge(1),
    strategies: () => [],
    file: () => ({ rows: [] }),
    ...{ choose: choice, edit: choice, undo: choice, finish: () => merge(2), abort: () => merge(2) }
  });
  const open = new OpenMerge(backend);
  const heard: Happening[] = [];
  const topics: Topic[] = [];
  const stop = open.listen(happening => heard.push(happening));
  ends.push(
    stop,
    hear({}, topic => topics.push(topic))
  );
  return { backend, open, heard, topics, stop };
}

describe('who changes a merge', () => {
  it.each<[question: keyof MergeQuestions, told: object, topics: Topic[]]>([
    ['merge', {}, []],
    ['strategies', {}, []],
    ['file', { path: 'a' }, []],
    ['choose', { rules: [] }, ['merge']],
    ['edit', { index: 0, rule: null }, ['merge']],
    ['undo', {}, ['merge']],
    ['finish', { message: '' }, ['merge', 'repository']],
    ['abort', {}, ['merge', 'repository']]
  ])('by %s', async (question, told, expected) => {
    const { open, topics, heard, backend } = opened();
    await open.ask(question, told as never);
    expect(backend.last(question).told).toBe(told);
    expect(topics).toEqual(expected);
    // Nobody has to tell itself.
    expect(heard).toEqual([]);
    expect(backend.asked).toHaveLength(1);
  });

  it('says nothing if it could not', async () => {
    const { open, topics, backend } = opened();
    backend.answers['choose'] = () => {
      throw new BackendError('no');
    };
    await expect(open.ask('choose', { rules: [] })).rejects.toThrow('no');
    expect(topics).toEqual([]);
  });

  it('passes on the answer, and how it is waited for', async () => {
    const { open, backend } = opened();
    const options = { signal: new AbortController().signal };
    expect(await open.ask('merge', {}, options)).toEqual(merge(1));
    expect(backend.last('merge').options).toBe(options);
  });
});

describe('who looks at a merge', () => {
  it('hears of what others on the page have done to it', async () => {
    const { open, heard, backend } = opened();
    await open.ask('merge', {});
    backend.answers['merge'] = () => merge(5);
    announce('merge', {});
    await vi.waitFor(() => expect(heard).toEqual([{ event: 'changed', revision: 5 }]));
  });

  it('is told to begin anew if it is another merge, whatever its revision', async () => {
    const { open, heard, backend } = opened();
    await open.ask('merge', {});
    backend.answers['merge'] = () => merge(1, { theirs: { name: 'rte', subject: '', commit: 'c3' } });
    announce('merge', {});
    await vi.waitFor(() => expect(heard).toEqual([{ event: 'changed', revision: -1 }]));
  });

  it('does not care for the rest of the repository', () => {
    const { backend } = opened();
    announce('repository', {});
    expect(backend.asked).toEqual([]);
  });

  it('keeps what it shows if nobody answers', async () => {
    const { heard, backend } = opened();
    backend.answers['merge'] = () => {
      throw new BackendError('the kernel is gone');
    };
    announce('merge', {});
    await vi.waitFor(() => expect(backend.asked).toHaveLength(1));
    await Promise.resolve();
    backend.answers['merge'] = () => merge(7);
    announce('merge', {});
    await vi.waitFor(() => expect(heard).toHaveLength(1));
  });

  it('tells the page what a cell has done, once', async () => {
    const { open, heard, topics, backend } = opened();
    await open.ask('merge', {});
    backend.tell({ event: 'changed', revision: 2 });
    backend.tell({ event: 'changed', revision: 2 });
    expect(heard).toHaveLength(2);
    expect(topics).toEqual(['merge']);
  });

  it('does not tell the page of what was its own doing', async () => {
    const { open, topics, backend } = opened();
    await open.ask('choose', { rules: [] });
    backend.tell({ event: 'changed', revision: 2 });
    expect(topics).toEqual(['merge']);
  });

  it('hears nothing once it has stopped listening', () => {
    const { heard, topics, stop, backend } = opened();
    stop();
    announce('merge', {});
    backend.tell({ event: 'changed', revision: 9 });
    expect([heard, backend.asked]).toEqual([[], []]);
    expect(topics).toEqual(['merge']);
  });

  it('hears of what two of them do to each other', async () => {
    const [one, two] = [opened(), opened()];
    await one.open.ask('choose', { rules: [] });
    await vi.waitFor(() => expect(two.heard).toHaveLength(1));
    expect(one.heard).toEqual([]);
  });
});
