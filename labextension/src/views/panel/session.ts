/**
 * The conversation of the panel with who answers it, and all it has learned so far.
 *
 * Looking and changing are apart. Looks may overtake each other, and only the newest is heeded; changes go one after the
 * other, and are followed by a look at all they may have touched. Either can be given up. What went wrong stays to be
 * read.
 */
import type { AskOptions, Backend, Progress } from '../../api/backend';
import type { MergeQuestions, Values } from '../../api/merge';
import { announce, hear, type Topic } from '../../api/page';
import type { Branches, Commit, Done, PanelQuestions, Status } from '../../api/panel';
import { Store, failureOf, type Failure } from '../store';
import { loose, type Actions, type Words } from './actions';

/** Milliseconds after which something that goes on is shown, and after which it can be given up. */
export const SHOWN = 300;
export const GIVEN_UP = 2000;
/** Commits that are asked for at once, at most. */
const MOST = 500;
const MINUTE = 60_000;

export type Section = 'conflicts' | 'changes' | 'history' | 'branches';

/** Something that goes on. */
export interface Busy {
  label: string;
  progress: Progress | null;
  canCancel: boolean;
}

/** Everything there is to draw; a new object whenever something has changed. */
export interface Snapshot {
  status: Status | null;
  /** Children before parents. */
  commits: readonly Commit[];
  /** Whether there are older ones. */
  more: boolean;
  /** Whether the last try to get these failed: nobody tries again unasked until there is a new look. */
  isStuck: boolean;
  head: string;
  /** Whether the history has been seen at all. */
  hasHistory: boolean;
  branches: Branches | null;
  open: Readonly<Record<Section, boolean>>;
  busy: Busy | null;
  /** Whether something is being changed. */
  isBusy: boolean;
  /** What was asked last and has not been done. */
  failure: Failure | null;
  /** Why nothing can be seen. */
  unseen: Failure | null;
  /** Of the next commit. */
  message: string;
  /** The commit that is shown whole. */
  shown: string;
  /** The commit that another is to be compared with. */
  comparing: string;
  /** The minute of the last poll: with a new one, all is drawn again, and so is how long ago something was. */
  minute: number;
}

export interface Options {
  /** Commits that are asked for at first. */
  pageSize: number;
  words: Words;
  open?: Partial<Record<Section, boolean>>;
}

const OPEN: Record<Section, boolean> = { conflicts: true, changes: true, history: true, branches: false };

export class PanelSession extends Store<Snapshot> {
  private readonly words: Words;
  private readonly unhear: () => void;
  /** Looks are numbered: an answer that another question has overtaken is not heeded. */
  private run = 0;
  /** Gives up the looks that are underway; null if none is. */
  private looking: AbortController | null = null;
  /** Whether the last look was given up: then polls do not begin another. */
  private isGivenUp = false;
  private pageSize: number;
  private isPaging = false;
  private merge = '';
  /** Changes wait for each other. */
  private underway: Promise<unknown> = Promise.resolve();
  private givingUp: AbortController | null = null;

  constructor(
    private readonly backend: Backend<PanelQuestions>,
    private readonly merges: Backend<MergeQuestions>,
    private readonly actions: Actions,
    options: Options
  ) {
    super({
      ...{ status: null, commits: [], more: false, isStuck: false, head: '', hasHistory: false, branches: null },
      ...{ busy: null, isBusy: false, failure: null, unseen: null, message: '', shown: '', comparing: '', minute: 0 },
      open: { ...OPEN, ...options.open }
    });
    this.words = loose(options.words);
    this.pageSize = options.pageSize;
    this.unhear = hear(this, () => void this.refresh());
    void this.refresh();
  }

  override dispose(): void {
    this.unhear();
    super.dispose();
  }

  // What is seen.

  readonly setOpen = (section: Section, isOpen: boolean): void =>
    this.put({ open: { ...this.snapshot.open, [section]: isOpen } });

  readonly setMessage = (message: string): void => this.put({ message });

  readonly show = (id: string): void => {
    const { comparing, shown } = this.snapshot;
    if (comparing && comparing !== id) {
      const old = this.isBefore(id, comparing) ? id : comparing;
      this.actions.openDiff({ old, new: old === id ? comparing : id });
      this.put({ comparing: '' });
    } else {
      this.put({ shown: shown === id ? '' : id, comparing: '' });
    }
  };

  /** Have the next commit that is clicked compared with this one; or do not. */
  readonly compare = (id: string): void => this.put({ comparing: this.snapshot.comparing === id ? '' : id });

  readonly forgive = (): void => this.put({ failure: null });

  /** Show so many commits at first, from now on; more of them come at once. */
  readonly setPageSize = (pageSize: number): void => {
    const isMore = pageSize > this.pageSize;
    this.pageSize = pageSize;
    if (isMore) {
      void this.refresh();
    }
  };

  // Looking.

  /** Look at everything. */
  readonly refresh = async (): Promise<void> => {
    const run = ++this.run;
    const { __ } = this.words;
    // One for all that overtake each other: whoever gives up one of them wants none.
    const controller = this.looking?.signal.aborted === false ? this.looking : new AbortController();
    this.looking = controller;
    const { signal } = controller;
    const since = Date.now();
    this.isGivenUp = false;
    const isWanted = (): boolean => run === this.run && !this.isDisposed;
    const limit = Math.min(MOST, Math.max(this.pageSize, this.snapshot.commits.length));
    const onProgress = (progress: Progress): void => {
      if (isWanted() && !this.givingUp && !signal.aborted) {
        const canCancel = Date.now() - since >= GIVEN_UP;
        this.put({ busy: { label: __('Looking at what changed…'), progress, canCancel } });
      }
    };
    const looks = [
      this.backend
        .ask('status', {}, { onProgress, signal })
        .then(status => isWanted() && this.put({ status, unseen: null })),
      this.backend.ask('history', { limit }, { signal }).then(page => {
        if (isWanted()) {
          const { commits: last } = this.snapshot;
          const end = last.findIndex(({ id }) => id === page.commits.at(-1)?.id);
          const rest = page.more && end >= 0 ? last.slice(end + 1) : [];
          const more = rest.length > 0 ? this.snapshot.more : page.more;
          const commits = [...page.commits, ...rest];
          this.put({ commits, more, isStuck: false, head: page.head, hasHistory: true });
        }
      }),
      this.backend.ask('branches', {}, { signal }).then(branches => isWanted() && this.put({ branches }))
    ];
    const failed = (await Promise.allSettled(looks)).find(look => look.status === 'rejected');
    if (isWanted()) {
      this.looking = null;
      if (failed) {
        this.isGivenUp = signal.aborted;
        const unseen = { message: __('Looking at what changed was given up.'), hint: __('Refresh to look again.') };
        this.put({ unseen: signal.aborted ? unseen : failureOf(failed.reason) });
      }
      if (!this.givingUp) {
        this.put({ busy: null });
      }
    }
  };

  /** Look only if something has happened. */
  readonly poll = async (): Promise<void> => {
    const run = this.run;
    const minute = Math.floor(Date.now() / MINUTE);
    if (minute !== this.snapshot.minute) {
      this.put({ minute });
    }
    try {
      const { key, merge } = await this.backend.ask('pulse', {});
      if (this.merge && merge !== this.merge) {
        announce('merge', this);
      }
      this.merge = merge;
      const { status, unseen } = this.snapshot;
      // While a look is underway, its answer says when it was true; a change is followed by a look.
      const isIdle = run === this.run && !this.looking && !this.givingUp && !this.isGivenUp;
      if (isIdle && (unseen || (status && key !== status.key))) {
        if (status) {
          announce('repository', this);
        }
        await this.refresh();
      }
    } catch (error) {
      // Once it answers again, it may be another server: that is looked at.
      this.isGivenUp = false;
      this.put({ unseen: failureOf(error) });
    }
  };

  /** Older commits. */
  readonly more = async (): Promise<void> => {
    if (this.isPaging || !this.snapshot.more) {
      return;
    }
    this.isPaging = true;
    let isOutdated = false;
    const { commits } = this.snapshot;
    try {
      const page = await this.backend.ask('history', {
        skip: commits.length,
        limit: Math.max(this.pageSize, 100)
      });
      isOutdated = commits !== this.snapshot.commits;
      if (!isOutdated) {
        const known = new Set(commits.map(({ id }) => id));
        const older = page.commits.filter(({ id }) => !known.has(id));
        this.put({ commits: [...commits, ...older], more: page.more, isStuck: false });
      }
    } catch (error) {
      this.put({ failure: failureOf(error), isStuck: true });
    } finally {
      this.isPaging = false;
    }
    if (isOutdated) {
      await this.more();
    }
  };

  // Changing.

  readonly track = (path: string): Promise<boolean> =>
    this.change(this.words.__('Tracking…'), ask => ask('track', { paths: [path] }));

  readonly stage = (paths: string[]): Promise<boolean> =>
    this.change(this.words.__('Staging…'), ask => ask('stage', { paths }));

  readonly unstage = (paths: string[]): Promise<boolean> =>
    this.change(this.words.__('Unstaging…'), ask => ask('unstage', { paths }));

  readonly discard = async (path: string): Promise<void> => {
    const { __ } = this.words;
    const isSure = await this.actions.confirm({
      title: __('Discard changes?'),
      body: __('%1 goes back to what HEAD has. What changed since is lost.', path),
      accept: __('Discard'),
      isDanger: true
    });
    if (isSure) {
      await this.change(__('Discarding…'), ask => ask('discard', { paths: [path] }));
    }
  };

  readonly commit = async (): Promise<void> => {
    const { message, status } = this.snapshot;
    const { __ } = this.words;
    if (status && !status.identity) {
      const identity = await this.actions.askIdentity();
      if (
        !identity ||
        !(await this.change(__('Taking your name…'), ask => ask('identify', identity), { isQuiet: true }))
      ) {
        return;
      }
    }
    if (await this.change(__('Committing…'), ask => ask('commit', { message }))) {
      this.put({ message: this.snapshot.message === message ? '' : this.snapshot.message });
    }
  };

  readonly switchTo = (branch: string): Promise<boolean> =>
    this.change(this.words.__('Switching to %1…', branch), ask => ask('switch', { branch }));

  /** Make a branch, from a commit or from here, and switch to it. */
  readonly createBranch = async (start = ''): Promise<void> => {
    const { __ } = this.words;
    const name = await this.actions.ask({ title: __('New branch'), label: __('Name'), accept: __('Create') });
    if (name) {
      await this.change(__('Making branch %1…', name), ask => ask('create_branch', { name, start }));
    }
  };

  readonly deleteBranch = async (name: string): Promise<void> => {
    const { __ } = this.words;
    const title = __('Delete branch %1?', name);
    const accept = __('Delete');
    const body = __('Its commits stay as long as another branch or a tag has them.');
    if (!(await this.actions.confirm({ title, body, accept, isDanger: true }))) {
      return;
    }
    const label = __('Deleting branch %1…', name);
    if (await this.change(label, ask => ask('delete_branch', { name }))) {
      return;
    }
    if (this.snapshot.failure?.message.includes('not fully merged')) {
      const body = __('It has commits that no other branch has. They would be lost.');
      if (await this.actions.confirm({ title, body, accept: __('Delete all the same'), isDanger: true })) {
        await this.change(label, ask => ask('delete_branch', { name, force: true }));
      }
    }
  };

  readonly mergeBranch = async (branch: string): Promise<void> => {
    let how: { strategy: string; parameters: Values } | null = null;
    try {
      how = await this.actions.askStrategy(branch);
    } catch (error) {
      // What there is to choose from comes from the server.
      this.put({ failure: failureOf(error) });
    }
    if (how) {
      await this.change(this.words.__('Merging %1…', branch), ask => ask('merge', { branch, ...how }), {
        topic: 'merge'
      });
    }
  };

  readonly restore = (ref: string, path: string): Promise<boolean> =>
    this.change(this.words.__('Checking out %1…', path), ask => ask('restore', { ref, path }));

  readonly push = (): Promise<boolean> => this.change(this.words.__('Pushing…'), ask => ask('push', {}));
  readonly pull = (): Promise<boolean> =>
    this.change(this.words.__('Pulling…'), ask => ask('pull', {}), { topic: 'merge' });
  readonly fetch = (): Promise<boolean> => this.change(this.words.__('Fetching…'), ask => ask('fetch', {}));

  readonly continueMerge = (): Promise<boolean> =>
    this.change(
      this.words.__('Finishing the merge…'),
      async (_, options) => {
        const { outcome } = await this.merges.ask('finish', { message: '' }, options);
        return { message: outcome, details: [] };
      },
      { topic: 'merge' }
    );

  readonly abortMerge = async (): Promise<void> => {
    const { __ } = this.words;
    const isSure = await this.actions.confirm({
      title: __('Abort?'),
      body: __('What was decided is lost. Everything goes back to where it was before.'),
      accept: __('Abort'),
      isDanger: true
    });
    if (isSure) {
      await this.change(
        __('Going back…'),
        async (_, options) => {
          const { outcome } = await this.merges.ask('abort', {}, options);
          return { message: outcome, details: [] };
        },
        { topic: 'merge' }
      );
    }
  };

  /** Give up what goes on: what is being changed, or else the look. */
  readonly cancel = (): void => {
    const { busy } = this.snapshot;
    (this.givingUp ?? this.looking)?.abort();
    if (busy) {
      // It ends when it next looks up.
      this.put({ busy: { label: this.words.__('Giving up…'), progress: null, canCancel: false } });
    }
  };

  /** Whether one commit comes before another, as far as the history is known. */
  private isBefore(id: string, other: string): boolean {
    const places = [id, other].map(wanted => this.snapshot.commits.findIndex(commit => commit.id === wanted));
    return (places[0] ?? 0) > (places[1] ?? 0);
  }

  /** Change something, after the changes that are underway; whether it was done. */
  private change(
    label: string,
    act: (ask: Ask, options: AskOptions) => Promise<Done>,
    { topic = 'repository', isQuiet = false }: { topic?: Topic; isQuiet?: boolean } = {}
  ): Promise<boolean> {
    const done = this.underway.then(() => this.perform(label, act, topic, isQuiet));
    this.underway = done;
    return done;
  }

  private async perform(
    label: string,
    act: (ask: Ask, options: AskOptions) => Promise<Done>,
    topic: Topic,
    isQuiet: boolean
  ): Promise<boolean> {
    const controller = new AbortController();
    this.givingUp = controller;
    this.put({ failure: null, isBusy: true });
    let busy: Busy = { label, progress: null, canCancel: false };
    let isShown = false;
    const tell = (part: Partial<Busy>): void => {
      busy = { ...busy, ...part };
      if (isShown && !controller.signal.aborted) {
        this.put({ busy });
      }
    };
    const timers = [
      setTimeout(() => {
        isShown = true;
        tell({});
      }, SHOWN),
      setTimeout(() => tell({ canCancel: true }), GIVEN_UP)
    ];
    const options: AskOptions = { signal: controller.signal, onProgress: progress => tell({ progress }) };
    const ask: Ask = (question, told) => this.backend.ask(question, told, options) as Promise<Done>;
    let isDone = false;
    try {
      const { message, details } = await act(ask, options);
      isDone = true;
      if (!isQuiet) {
        this.actions.notify([message, ...details].filter(Boolean).join('\n'), 'success');
      }
    } catch (error) {
      // Whoever gives it up need not be told.
      if (!controller.signal.aborted) {
        this.put({ failure: failureOf(error) });
      }
    }
    timers.forEach(clearTimeout);
    this.givingUp = null;
    this.put({ busy: null, isBusy: false });
    announce('repository', this);
    if (topic === 'merge') {
      announce('merge', this);
    }
    // The next change need not wait for that.
    void this.refresh();
    return isDone;
  }
}

/** Ask for something to be done. */
type Ask = <Question extends keyof PanelQuestions>(
  question: Question,
  told: Parameters<PanelQuestions[Question]>[0]
) => Promise<Done>;
