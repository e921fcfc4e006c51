/**
 * The conversation of a scoreboard with who answers it.
 */
import type { Backend } from '../../api/backend';
import type { Board, BoardQuestions } from '../../api/board';
import { Store, failureOf, type Failure } from '../store';

export interface Snapshot {
  board: Board | null;
  failure: Failure | null;
  problem: Failure | null;
  /** The candidate that is being made the plan. */
  using: number | null;
}

export class BoardSession extends Store<Snapshot> {
  private readonly unlisten: () => void;

  constructor(private readonly backend: Backend<BoardQuestions>) {
    super({ board: null, failure: null, problem: null, using: null });
    this.unlisten = backend.listen(() => void this.load());
    void this.load();
  }

  /** Make a candidate the plan of the merge. */
  readonly use = async (index: number): Promise<void> => {
    this.put({ using: index, problem: null });
    try {
      this.put({ board: await this.backend.ask('use', { index }) });
    } catch (error) {
      this.put({ problem: failureOf(error) });
    }
    this.put({ using: null });
  };

  override dispose(): void {
    this.unlisten();
    super.dispose();
  }

  private async load(): Promise<void> {
    try {
      this.put({ board: await this.backend.ask('board', {}), failure: null });
    } catch (error) {
      this.put({ failure: failureOf(error) });
    }
  }
}
