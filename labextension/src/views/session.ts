/**
 * A view's conversation with who answers it, and all it has learned so far.
 *
 * A store outside of React: the views draw its snapshots. What has been sent is kept, and every click works on that at
 * once; the answer, when it comes, only makes it more exact. Of a quick series of selections only the last is asked
 * for, and one that is not answered does not hold up the others for ever.
 */
import { BackendError, type Backend } from '../api/backend';
import type { Detail, Diff } from '../api/types';
import { initial, isUnmeasured, portions, reduce, type Action, type Shared, type State } from './state';

/** Where the shared part of the state lives as well: in the traits of a widget, say. */
export interface Link {
  get(): Shared;
  set(part: Partial<Shared>): void;
  /** Calls back whenever something has been set, by whomever. */
  subscribe(changed: () => void): () => void;
}

export interface Failure {
  message: string;
  hint: string;
}

/** How far measuring has come. */
export interface Progress {
  done: number;
  total: number;
}

/** What is known of the selected tensor beside its row. */
export interface Selected {
  name: string;
  answer: Detail | null;
  failure: Failure | null;
}

/** Everything there is to draw; a new object whenever something has changed. */
export interface Snapshot {
  state: State;
  diff: Diff | null;
  failure: Failure | null;
  selected: Selected | null;
  progress: Progress | null;
  measureFailure: Failure | null;
}

/** Milliseconds: long enough to skip the rows that an arrow key, held down, runs over. */
const PAUSE = 120;
/** A request that has not been answered for so long does not hold up the next one. */
const PATIENCE = 5000;
/** Clicking through a few tensors redraws the pictures once. */
const REFRESH = 800;

const wait = (delay: number): Promise<void> => new Promise(resolve => setTimeout(resolve, delay));

export class Session {
  private snapshot: Snapshot;
  private readonly listeners = new Set<() => void>();
  private readonly answers = new Map<string, Detail>();
  private readonly unlink: () => void;
  private underway: Promise<unknown> = Promise.resolve();
  private refreshing: ReturnType<typeof setTimeout> | undefined;
  private run = 0;
  private isDisposed = false;

  constructor(
    private readonly backend: Backend,
    private readonly link: Link
  ) {
    const state = initial(link.get());
    this.snapshot = { state, diff: null, failure: null, selected: null, progress: null, measureFailure: null };
    this.unlink = link.subscribe(() => this.take(link.get()));
    backend.diff().then(
      diff => {
        this.put({ diff });
        this.open();
      },
      (error: unknown) => this.put({ failure: failureOf(error) })
    );
  }

  /** These two are what React's `useSyncExternalStore` wants. */
  readonly get = (): Snapshot => this.snapshot;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly dispatch = (action: Action): void => {
    this.put({ state: reduce(this.snapshot.state, action) });
  };

  /** Set what is shared with others. */
  readonly share = (part: Partial<Shared>): void => {
    this.take(part);
    this.link.set(part);
  };

  /** Measure all that is still estimated, in portions; each counts as soon as it is there. */
  readonly measure = async (): Promise<void> => {
    const { data } = this.snapshot.state;
    if (!data) {
      return;
    }
    const run = ++this.run;
    const todo = data.tensors.filter(isUnmeasured);
    let done = 0;
    try {
      for (const portion of portions(todo)) {
        this.put({ progress: { done, total: todo.length }, measureFailure: null });
        const names = portion.map(({ name }) => name);
        const { tensors } = await this.backend.measure(data.path, names);
        this.dispatch({ type: 'exact', path: data.path, tensors });
        if (run !== this.run) {
          break;
        }
        done += portion.length;
      }
    } catch (error) {
      if (run === this.run) {
        this.put({ measureFailure: failureOf(error) });
      }
    }
    if (run === this.run) {
      this.put({ progress: null });
    }
    this.refresh(0);
  };

  /** Ask for no more portions. */
  readonly cancel = (): void => {
    this.run++;
    this.put({ progress: null });
  };

  dispose(): void {
    this.isDisposed = true;
    this.run++;
    clearTimeout(this.refreshing);
    this.unlink();
    this.listeners.clear();
  }

  private put(part: Partial<Snapshot>): void {
    if (!this.isDisposed) {
      this.snapshot = { ...this.snapshot, ...part };
      this.listeners.forEach(listener => listener());
    }
  }

  private take(part: Partial<Shared>): void {
    const last = this.snapshot.state;
    this.dispatch({ type: 'share', part });
    const { file, selection } = this.snapshot.state;
    if (file !== last.file) {
      this.open();
    } else if (selection !== last.selection) {
      this.select();
    }
  }

  /** Load the file that is shown, if it is not the one that is loaded. */
  private open(): void {
    const { diff, state } = this.snapshot;
    const files = diff?.files ?? [];
    const path = (files.find(file => file.path === state.file) ?? files[0])?.path;
    if (path === undefined || path === state.data?.path) {
      return;
    }
    this.cancel();
    this.answers.clear();
    clearTimeout(this.refreshing);
    this.dispatch({ type: 'load', data: null });
    this.put({ failure: null, selected: null, measureFailure: null });
    const isShown = (): boolean => {
      const { file } = this.snapshot.state;
      return path === file || !files.some(other => other.path === file);
    };
    this.backend.file(path).then(
      data => {
        if (isShown()) {
          this.dispatch({ type: 'load', data });
          this.select();
        }
      },
      (error: unknown) => isShown() && this.put({ failure: failureOf(error) })
    );
  }

  /** Show what is known of the selected tensor, and ask for more. */
  private select(): void {
    const { data, selection: name } = this.snapshot.state;
    const isKnown = data?.tensors.some(tensor => tensor.name === name);
    const answer = this.answers.get(name) ?? null;
    this.put({ selected: isKnown ? { name, answer, failure: null } : null });
    if (data && isKnown && !answer) {
      void this.ask(data.path, name);
    }
  }

  private async ask(path: string, name: string): Promise<void> {
    const isWanted = (): boolean => {
      const { selected, state } = this.snapshot;
      return !this.isDisposed && state.data?.path === path && selected?.name === name;
    };
    await wait(PAUSE);
    // Of those that wait here, the one still selected goes next; the others find that they are not wanted.
    await this.underway;
    if (!isWanted() || this.answers.has(name)) {
      return;
    }
    const request = this.backend.tensor(path, name);
    this.underway = Promise.race([request.catch(() => undefined), wait(PATIENCE)]);
    try {
      const answer = await request;
      if (this.snapshot.state.data?.path === path) {
        this.answers.set(name, answer);
        this.dispatch({ type: 'exact', path, tensors: [answer.tensor] });
        this.refresh(REFRESH);
      }
      if (isWanted()) {
        this.put({ selected: { name, answer, failure: null } });
      }
    } catch (error) {
      if (isWanted()) {
        this.put({ selected: { name, answer: null, failure: failureOf(error) } });
      }
    }
  }

  /** The pictures and the summary again, soon. */
  private refresh(delay: number): void {
    clearTimeout(this.refreshing);
    const path = this.snapshot.state.data?.path;
    if (path === undefined || this.isDisposed) {
      return;
    }
    this.refreshing = setTimeout(() => {
      this.backend.figures(path).then(
        part => this.dispatch({ type: 'refresh', path, part }),
        // The old ones stay.
        () => undefined
      );
    }, delay);
  }
}

function failureOf(error: unknown): Failure {
  const { message, hint = '' } = error instanceof BackendError ? error : { message: String(error) };
  return { message, hint };
}
