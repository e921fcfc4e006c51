/**
 * The conversation of a diff's view with who answers it, and all it has learned so far.
 *
 * What has been sent is kept, and every click works on that at once; the answer, when it comes, only makes it more
 * exact. Of a quick series of selections only the last is asked for, and one that is not answered does not hold up the
 * others for ever.
 */
import type { Backend } from '../api/backend';
import type { Detail, Diff, DiffQuestions } from '../api/types';
import { initial, isUnmeasured, portions, reduce, type Action, type Shared, type State } from './state';
import { PATIENCE, Store, failureOf, wait, type Failure, type Link } from './store';

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
/** Clicking through a few tensors redraws the pictures once. */
const REFRESH = 800;

export class Session extends Store<Snapshot> {
  private readonly answers = new Map<string, Detail>();
  private readonly unlink: () => void;
  private underway: Promise<unknown> = Promise.resolve();
  private refreshing: ReturnType<typeof setTimeout> | undefined;
  private run = 0;

  constructor(
    private readonly backend: Backend<DiffQuestions>,
    private readonly link: Link<Shared>
  ) {
    const state = initial(link.get());
    super({ state, diff: null, failure: null, selected: null, progress: null, measureFailure: null });
    this.unlink = link.subscribe(() => this.take(link.get()));
    backend.ask('diff', {}).then(
      diff => {
        this.put({ diff });
        this.open();
      },
      (error: unknown) => this.put({ failure: failureOf(error) })
    );
  }

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
        const { tensors } = await this.backend.ask('measure', { path: data.path, names });
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

  override dispose(): void {
    this.run++;
    clearTimeout(this.refreshing);
    this.unlink();
    super.dispose();
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
    this.backend.ask('file', { path }).then(
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
    const request = this.backend.ask('tensor', { path, name });
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
      this.backend.ask('figures', { path }).then(
        part => this.dispatch({ type: 'refresh', path, part }),
        // The old ones stay.
        () => undefined
      );
    }, delay);
  }
}
