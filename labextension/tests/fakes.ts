/** Who answers in tests, who is asked to open things, and what they talk about. */
import { vi, type Mock } from 'vitest';

import type { AskOptions, Asking, Backend } from '../src/api/backend';
import type { MergeQuestions } from '../src/api/merge';
import type { Branch, Change, Commit, InProgress, PanelQuestions, Status } from '../src/api/panel';
import { english, type Actions } from '../src/views/panel/actions';
import { PanelSession, type Options } from '../src/views/panel/session';

/** A question, and the means to answer it if it was held. */
export interface Asked {
  method: string;
  told: unknown;
  options: AskOptions;
  resolve: (answer: unknown) => void;
  reject: (error: unknown) => void;
}

/** Answers at once, but for what is held: that waits for the test. */
export class FakeBackend<Questions extends Asking<Questions>> implements Backend<Questions> {
  readonly asked: Asked[] = [];
  private readonly held = new Set<string>();

  constructor(readonly answers: Record<string, (told: never) => unknown>) {}

  hold(...methods: (keyof Questions & string)[]): void {
    methods.forEach(method => this.held.add(method));
  }

  /** What was asked of one kind. */
  of(method: keyof Questions & string): Asked[] {
    return this.asked.filter(({ method: other }) => other === method);
  }

  /** The last question of a kind. */
  last(method: keyof Questions & string): Asked {
    const found = this.of(method).at(-1);
    if (!found) {
      throw new Error(`nobody asked for ${method}`);
    }
    return found;
  }

  /** The kinds of what was asked, without looks. */
  get changes(): string[] {
    return this.asked
      .map(({ method }) => method)
      .filter(method => !['pulse', 'status', 'history', 'branches'].includes(method));
  }

  ask<Method extends keyof Questions & string>(
    method: Method,
    told: Parameters<Questions[Method]>[0],
    options: AskOptions = {}
  ): Promise<ReturnType<Questions[Method]>> {
    return new Promise((resolve, reject) => {
      const settle = resolve as (answer: unknown) => void;
      this.asked.push({ method, told, options, resolve: settle, reject });
      if (!this.held.has(method)) {
        const answer = this.answers[method];
        if (answer) {
          new Promise(now => now(answer(told))).then(settle, reject);
        } else {
          reject(new Error(`no answer to ${method}`));
        }
      }
    });
  }

  listen(): () => void {
    return () => undefined;
  }
}

export type FakeActions = { [Name in keyof Actions]: Mock<Actions[Name]> };

/** Says yes to everything. */
export function fakeActions(): FakeActions {
  return {
    openDiff: vi.fn<Actions['openDiff']>(),
    openMerge: vi.fn<Actions['openMerge']>(),
    openModel: vi.fn<Actions['openModel']>(),
    confirm: vi.fn<Actions['confirm']>(() => Promise.resolve(true)),
    ask: vi.fn<Actions['ask']>(() => Promise.resolve('idea')),
    askIdentity: vi.fn<Actions['askIdentity']>(() => Promise.resolve({ name: 'Ann', email: 'ann@example.org' })),
    askStrategy: vi.fn<Actions['askStrategy']>(() => Promise.resolve({ strategy: 'average', parameters: {} })),
    notify: vi.fn<Actions['notify']>(),
    insertCode: vi.fn<Actions['insertCode']>(() => true),
    copy: vi.fn<Actions['copy']>()
  };
}

export function status(part: Partial<Status> = {}): Status {
  return {
    ...{ key: 'k1', branch: 'main', detached: false, commits: true, ready: true, identity: true, upstream: null },
    ...{ remotes: [], changes: [], also_staged: [], stores: 0, size: 0, merge: null },
    ...part
  };
}

export function change(path: string, part: Partial<Change> = {}): Change {
  return {
    ...{ path, letter: 'M', state: 'changed', staged: false, summary: '101 of 104 tensors, ~0.0017' },
    ...{ tensors: 104, changed: 101, relative: 0.0017, estimated: true, stores: 33e6, size: 91e6, miniature: null },
    ...part
  };
}

export function commit(id: string, part: Partial<Commit> = {}): Commit {
  return {
    ...{
      id,
      subject: `subject of ${id}`,
      body: '',
      author: 'Ann',
      date: '2026-01-02T03:04:05Z',
      parents: [],
      refs: []
    },
    ...{ models: [], miniatures: [], stored: 0, derived_from: [], merged_by: [] },
    ...part
  };
}

/** So many commits, each the parent of the one before. */
export function line(count: number): Commit[] {
  return Array.from({ length: count }, (_, index) =>
    commit(`c${index}`, { parents: index + 1 < count ? [`c${index + 1}`] : [] })
  );
}

export function branch(name: string, part: Partial<Branch> = {}): Branch {
  return {
    ...{ name, remote: false, current: false, commit: 'c0', subject: `tip of ${name}` },
    ...{ date: '2026-01-02T03:04:05Z', upstream: null },
    ...part
  };
}

export function merging(part: Partial<InProgress> = {}): InProgress {
  return {
    ...{ kind: 'merge', title: 'Merging rte into main', ours: 'main', theirs: 'rte' },
    ...{ files: [{ path: 'models/a.safetensors', conflicts: 38, left: 3 }], others: [], revision: 1 },
    ...part
  };
}

/** What a repository answers unless a test says otherwise. */
export interface World {
  status: Status;
  commits: Commit[];
  branches: Branch[];
  pulse: { key: string; merge: string };
}

export interface Stage {
  world: World;
  backend: FakeBackend<PanelQuestions>;
  merges: FakeBackend<MergeQuestions>;
  actions: FakeActions;
  session: PanelSession;
}

const stages: PanelSession[] = [];

/** A session, and everybody it talks with. */
export function stage(part: Partial<World> = {}, options: Partial<Options> = {}): Stage {
  const world: World = {
    ...{ status: status(), commits: [], branches: [], pulse: { key: 'k1', merge: 'm1' } },
    ...part
  };
  const done = (): unknown => ({ message: 'done', details: [] });
  const names = 'identify track untrack stage unstage discard commit switch create_branch delete_branch restore merge';
  const backend = new FakeBackend<PanelQuestions>({
    ...Object.fromEntries([...names.split(' '), 'push', 'pull', 'fetch'].map(name => [name, done])),
    pulse: () => world.pulse,
    status: () => world.status,
    branches: () => ({ branches: world.branches, remotes: world.status.remotes }),
    history: ({ skip = 0, limit = 50 }: { skip?: number; limit?: number }) => ({
      commits: world.commits.slice(skip, skip + limit),
      more: world.commits.length > skip + limit,
      head: world.commits[0]?.id ?? ''
    })
  });
  const merges = new FakeBackend<MergeQuestions>({
    finish: () => ({ outcome: 'merged' }),
    abort: () => ({ outcome: 'as before' })
  });
  const actions = fakeActions();
  const session = new PanelSession(backend, merges, actions, { pageSize: 50, words: english, ...options });
  stages.push(session);
  return { world, backend, merges, actions, session };
}

/** Nobody hears the next test. */
export function leave(): void {
  stages.splice(0).forEach(session => session.dispose());
}
