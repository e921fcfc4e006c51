import type { Detail, Diff, FileDiff, Refreshed, Tensor } from './types';

/** Who answers the views. A request that fails rejects with a `BackendError`. */
export interface Backend {
  /** What was compared, and which files differ. */
  diff(): Promise<Diff>;
  /** One file: every tensor, as far as it is known without reading weights. */
  file(path: string): Promise<FileDiff>;
  /** One tensor, exactly. */
  tensor(path: string, name: string): Promise<Detail>;
  /** Exact numbers for these tensors. */
  measure(path: string, names: string[]): Promise<{ tensors: Tensor[] }>;
  /** The pictures and the summary again, after measuring. */
  figures(path: string): Promise<Refreshed>;
}

/** What went wrong, and what to do about it. */
export class BackendError extends Error {
  constructor(
    message: string,
    readonly hint = ''
  ) {
    super(message);
    this.name = 'BackendError';
  }
}
