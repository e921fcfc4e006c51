/**
 * The conversation of a merge's view with who answers it, and all it has learned so far.
 *
 * Choices are shown as soon as they are made, and set right by the answer. Whoever changes the merge elsewhere is heard
 * of, and then everything is asked for again.
 */
import type { AskOptions, Backend, Progress } from '../../api/backend';
import type { Choice, MergeQuestions, MergeState, Preview, Row, Rule, Strategy, Values } from '../../api/merge';
import { fnmatch, literal } from '../globs';
import { PATIENCE, Store, failureOf, wait, type Failure, type Link } from '../store';
import { givenOf } from './words';
import { foldedAtFirst, pathTo, treeOf, type Branch } from './tree';

/** What others may see and set, too: the traits of the widget. */
export interface Shared {
  selection: readonly string[];
  filter: string;
  file: string;
}

export type Column = 'name' | 'ours' | 'theirs' | 'angle' | 'signs';

export interface Sort {
  by: Column;
  down: boolean;
}

/** A strategy that is tried on the tensor looked at, before it is applied. */
export interface Draft {
  strategy: string;
  /** As far as they differ from the defaults. */
  parameters: Values;
}

/** What an apply is for. */
export type Scope = 'tensor' | 'selection' | 'module' | 'pattern';

/** What is chosen to be seen, here only. */
export interface Look {
  leftOnly: boolean;
  sort: Sort;
  folded: ReadonlySet<string>;
  scope: Scope;
  draft: Draft;
}

/** Everything there is to draw; a new object whenever something has changed. */
export interface Snapshot extends Shared, Look {
  merge: MergeState | null;
  strategies: readonly Strategy[];
  /** The file shown, once it is there: its conflicts, and what has settled itself if that was asked for. */
  path: string;
  conflicts: readonly Row[];
  settled: readonly Row[] | null;
  /** All their names. */
  tree: Branch;
  /** The tensor looked at closely. */
  current: string;
  /** There is nothing to show. */
  failure: Failure | null;
  /** What was asked last has not been done; and whether that was to end the merge. */
  problem: (Failure & { isOfEnd: boolean }) | null;
  finishing: Progress | null;
}

const NOTHING: Draft = { strategy: '', parameters: {} };

export class MergeSession extends Store<Snapshot> {
  private readonly unlink: () => void;
  private readonly unlisten: () => void;
  private looking: Promise<unknown> = Promise.resolve();
  private finishingWith: AbortController | null = null;
  /** Changes go out one after the other. */
  private underway: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly backend: Backend<MergeQuestions>,
    private readonly link: Link<Shared>
  ) {
    super({
      ...link.get(),
      ...{ leftOnly: false, sort: { by: 'name', down: false }, folded: new Set(), scope: 'tensor', draft: NOTHING },
      ...{ merge: null, strategies: [], path: '', conflicts: [], settled: null, tree: treeOf([]), current: '' },
      ...{ failure: null, problem: null, finishing: null }
    });
    this.unlink = link.subscribe(() => this.take(link.get()));
    this.unlisten = backend.listen(({ revision }) => {
      // Our own changes are told to everybody, too.
      void this.underway.then(() => {
        if (revision !== this.snapshot.merge?.revision) {
          void this.load();
        }
      });
    });
    void this.load();
  }

  /** Set what is shared with others. */
  readonly share = (part: Partial<Shared>): void => {
    this.take(part);
    this.link.set(part);
  };

  readonly look = (part: Partial<Look>): void => this.put(part);

  /** Look closely at a tensor, and select these. */
  readonly select = (selection: readonly string[], current = selection.at(-1) ?? ''): void => {
    this.goTo(current, selection.length > 1 ? 'selection' : 'tensor');
    this.share({ selection });
  };

  /** Ask for what has settled itself; or show it no longer. */
  readonly toggleSettled = async (): Promise<void> => {
    const { path, settled, conflicts } = this.snapshot;
    if (settled) {
      this.put({ settled: null, tree: treeOf(namesOf(conflicts)) });
      return;
    }
    await this.attempt(async () => {
      const { rows } = await this.backend.ask('settled', { path });
      if (path === this.snapshot.path) {
        this.put({ settled: rows, tree: treeOf(namesOf([...this.snapshot.conflicts, ...rows])) });
      }
    });
  };

  /** The file that a rule of this view is for: the one shown, where there are several. */
  fileGlob(): string {
    const { merge, path } = this.snapshot;
    return (merge?.files.length ?? 0) > 1 ? literal(path) : '';
  }

  /** Decide what matches these globs. */
  readonly apply = (globs: readonly string[], { strategy, parameters }: Draft, file = this.fileGlob()): Promise<void> =>
    this.change(async () => {
      const rules = globs.map(tensors => ({ tensors, file, strategy, parameters }));
      this.foresee(rules);
      this.heed(await this.backend.ask('choose', { rules }));
    });

  readonly edit = (index: number, rule: Rule | null): Promise<void> =>
    this.change(async () => this.heed(await this.backend.ask('edit', { index, rule })));

  readonly undo = (): Promise<void> => this.change(async () => this.heed(await this.backend.ask('undo', {})));

  readonly finish = (message: string): Promise<void> =>
    this.change(async () => {
      const controller = new AbortController();
      this.finishingWith = controller;
      const onProgress = (finishing: Progress): void => this.put({ finishing });
      onProgress({ what: '', done: 0, total: 0 });
      try {
        const merge = await this.backend.ask('finish', { message }, { onProgress, signal: controller.signal });
        // A rebase may have stopped again, at the next commit.
        this.put({ merge, path: '', conflicts: [] });
        await this.open();
      } catch (error) {
        // Whoever gives it up need not be told.
        if (!controller.signal.aborted) {
          throw error;
        }
      } finally {
        this.finishingWith = null;
        this.put({ finishing: null });
      }
    }, true);

  readonly cancel = (): void => this.finishingWith?.abort();

  readonly abort = (): Promise<void> =>
    this.change(async () => this.put({ merge: await this.backend.ask('abort', {}) }), true);

  readonly preview = async (name: string, draft: Draft, options: AskOptions): Promise<Preview> => {
    const { path } = this.snapshot;
    // Of those that wait here, only the last is still wanted: a slider is moved in many small steps.
    await this.looking;
    options.signal?.throwIfAborted();
    const request = this.backend.ask('preview', { path, name, ...draft }, options);
    this.looking = Promise.race([request.catch(() => undefined), wait(PATIENCE)]);
    const found = await request;
    if (path === this.snapshot.path) {
      // Now it is measured; what is tried on it, is not chosen yet.
      const { ours, theirs, angle, signs, estimated } = found.row;
      const measured = (row: Row): Row => (row.name === name ? { ...row, ours, theirs, angle, signs, estimated } : row);
      const { conflicts, settled } = this.snapshot;
      this.put({ conflicts: conflicts.map(measured), settled: settled?.map(measured) ?? null });
    }
    return found;
  };

  override dispose(): void {
    this.unlink();
    this.unlisten();
    super.dispose();
  }

  /** Ask for everything. */
  private async load(): Promise<void> {
    try {
      const [merge, strategies] = await Promise.all([
        this.backend.ask('merge', {}),
        this.snapshot.strategies.length ? this.snapshot.strategies : this.backend.ask('strategies', {})
      ]);
      const last = this.snapshot.merge;
      // Once it is over there is nothing more to hear of it, and what came of it is worth reading.
      const isOver = last?.kind === '' && last.outcome !== '' && merge.kind === '';
      this.put({ merge: isOver ? last : merge, strategies, failure: null });
      await this.open();
    } catch (error) {
      this.put({ failure: failureOf(error) });
    }
  }

  /** Load the file that is shown. */
  private async open(): Promise<void> {
    const path = this.shownPath();
    if (!path) {
      return;
    }
    const { rows } = await this.backend.ask('file', { path });
    if (path !== this.shownPath()) {
      return;
    }
    const isNew = path !== this.snapshot.path;
    const settled = isNew ? null : this.snapshot.settled;
    const tree = treeOf(namesOf([...rows, ...(settled ?? [])]));
    this.renew(rows);
    this.put({ path, conflicts: rows, settled, tree, ...(isNew ? { folded: foldedAtFirst(tree) } : {}) });
    if (isNew) {
      this.goTo(this.snapshot.selection.at(-1) ?? '', this.snapshot.selection.length > 1 ? 'selection' : 'tensor');
    }
  }

  /** The file asked for; else the first that needs somebody. */
  private shownPath(): string {
    const { merge, file } = this.snapshot;
    const files = merge?.files ?? [];
    return (files.find(({ path }) => path === file) ?? files.find(({ left }) => left > 0) ?? files[0])?.path ?? '';
  }

  private take(part: Partial<Shared>): void {
    const last = this.snapshot;
    // Whoever looks for something wants to see it.
    const folded = part.filter && part.filter !== last.filter ? new Set<string>() : last.folded;
    this.put({ ...part, folded });
    const { file, selection, current } = this.snapshot;
    if (file !== last.file && this.shownPath() !== last.path) {
      this.put({ problem: null });
      void this.attempt(() => this.open());
    } else if (!sameNames(selection, last.selection) && !selection.includes(current)) {
      this.goTo(selection.at(-1) ?? '', selection.length > 1 ? 'selection' : 'tensor');
    }
  }

  private goTo(current: string, scope: Scope): void {
    const { conflicts, tree, folded } = this.snapshot;
    const row = conflicts.find(({ name }) => name === current);
    const above = new Set(pathTo(tree, current).map(({ prefix }) => prefix));
    const isHidden = [...above].some(prefix => folded.has(prefix));
    this.put({
      ...(current !== this.snapshot.current ? { draft: row ? this.draftOf(row) : NOTHING } : {}),
      ...(isHidden ? { folded: new Set([...folded].filter(prefix => !above.has(prefix))) } : {}),
      ...{ current, scope }
    });
  }

  /** Do something that may fail, and say so if it does. */
  private async attempt(action: () => Promise<void>, isOfEnd = false): Promise<boolean> {
    try {
      await action();
      return true;
    } catch (error) {
      this.put({ problem: { ...failureOf(error), isOfEnd } });
      return false;
    }
  }

  /** Change the merge, after the changes that are underway. */
  private change(action: () => Promise<void>, isOfEnd = false): Promise<void> {
    const done = this.underway.then(async () => {
      this.put({ problem: null });
      const { conflicts } = this.snapshot;
      if (!(await this.attempt(action, isOfEnd)) && conflicts !== this.snapshot.conflicts) {
        // What was shown in advance has not come true.
        void this.load();
      }
    });
    this.underway = done;
    return done;
  }

  /** Show what rules will do, before they are answered. */
  private foresee(rules: readonly Rule[]): void {
    let { conflicts } = this.snapshot;
    for (const { tensors, strategy, parameters } of rules) {
      const matches = fnmatch(tensors);
      conflicts = conflicts.map(row =>
        matches(row.name) && !row.refusals[strategy] ? { ...row, strategy, parameters } : row
      );
    }
    this.renew(conflicts);
    this.put({ conflicts });
  }

  private heed({ state: merge, rows }: Choice): void {
    const fresh = rows.find(({ path }) => path === this.snapshot.path)?.rows ?? [];
    const byName = new Map(fresh.map(row => [row.name, row]));
    const conflicts = this.snapshot.conflicts.map(row => byName.get(row.name) ?? row);
    this.renew(conflicts);
    this.put({ merge, conflicts });
  }

  /** What has been decided about the tensor looked at is what is tried next. */
  private renew(conflicts: readonly Row[]): void {
    const { current } = this.snapshot;
    const [was, now] = [this.snapshot.conflicts, conflicts].map(rows => rows.find(({ name }) => name === current));
    if (now && (!was || JSON.stringify(this.draftOf(was)) !== JSON.stringify(this.draftOf(now)))) {
      this.put({ draft: this.draftOf(now) });
    }
  }

  /** What has been decided about a row. */
  private draftOf({ strategy, parameters }: Row): Draft {
    const known = this.snapshot.strategies.find(({ name }) => name === strategy);
    return { strategy, parameters: givenOf(known, parameters) };
  }
}

function namesOf(rows: readonly Row[]): string[] {
  return rows.map(({ name }) => name);
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, index) => name === b[index]);
}
