/**
 * The conversation of a model's view with who answers it: one question, and how its answer is looked at.
 */
import type { Backend } from '../../api/backend';
import { announce } from '../../api/page';
import type { Model, PanelQuestions } from '../../api/panel';
import { Store, failureOf, type Failure } from '../store';
import type { Column, Sort } from './columns';

export interface Snapshot {
  model: Model | null;
  failure: Failure | null;
  /** Whether the model cannot be shown just because nobody has tracked it yet. */
  isUntracked: boolean;
  filter: string;
  sort: Sort;
}

export class ModelSession extends Store<Snapshot> {
  constructor(
    private readonly backend: Backend<PanelQuestions>,
    private readonly path: string,
    private readonly ref = ''
  ) {
    super({ model: null, failure: null, isUntracked: false, filter: '', sort: { by: 'name', down: false } });
    void this.load();
  }

  /** Track it, and then show it. */
  readonly track = async (): Promise<void> => {
    this.put({ failure: null });
    try {
      await this.backend.ask('track', { paths: [this.path] });
      announce('repository', this);
      await this.load();
    } catch (error) {
      // It is as untracked as before: whoever knows what to do about it can try again.
      this.put({ failure: failureOf(error) });
    }
  };

  readonly filter = (filter: string): void => this.put({ filter });

  /** Sort by a column; once more, the other way round. Numbers start with the largest, words with A. */
  readonly sort = ({ id, isNumber }: Column): void => {
    const { sort } = this.snapshot;
    this.put({ sort: { by: id, down: sort.by === id ? !sort.down : isNumber } });
  };

  private async load(): Promise<void> {
    const { path, ref } = this;
    try {
      const isUntracked = !ref && (await this.isUntracked());
      const model = isUntracked ? null : await this.backend.ask('model', { path, ref });
      this.put({ model, isUntracked, failure: null });
    } catch (error) {
      this.put({ failure: failureOf(error), isUntracked: false });
    }
  }

  private async isUntracked(): Promise<boolean> {
    const { changes } = await this.backend.ask('status', {});
    return changes.some(({ path, state }) => path === this.path && state === 'untracked');
  }
}
