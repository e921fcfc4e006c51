/**
 * Asks the kernel, over the comm of an anywidget model.
 *
 * A request is `{id, method, params}`; the reply carries its id. Every view of a model hears every reply, so ids begin
 * with a word of their own. A kernel that is busy answers late, and one that is gone never does: callers show what they
 * have, and do not wait.
 */
import { BackendError, type Backend } from './backend';
import type { Detail, Diff, FileDiff, Refreshed, Tensor } from './types';

/** What we use of an anywidget model. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: object): void;
  on(event: string, handler: (...values: never[]) => void): void;
  off(event: string, handler: (...values: never[]) => void): void;
}

interface Reply {
  id?: string;
  result?: unknown;
  error?: { message: string; hint?: string };
}

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
}

export class CommBackend implements Backend {
  private readonly word = Math.random().toString(36).slice(2);
  private readonly waiting = new Map<string, Waiting>();
  private count = 0;

  constructor(private readonly model: Model) {
    model.on('msg:custom', this.onReply);
  }

  diff(): Promise<Diff> {
    return this.ask('diff', {});
  }

  file(path: string): Promise<FileDiff> {
    return this.ask('file', { path });
  }

  tensor(path: string, name: string): Promise<Detail> {
    return this.ask('tensor', { path, name });
  }

  measure(path: string, names: string[]): Promise<{ tensors: Tensor[] }> {
    return this.ask('measure', { path, names });
  }

  figures(path: string): Promise<Refreshed> {
    return this.ask('figures', { path });
  }

  /** Hear no more replies. What is still waiting stays so: nobody looks at it any longer. */
  dispose(): void {
    this.model.off('msg:custom', this.onReply);
    this.waiting.clear();
  }

  private ask<T>(method: string, params: object): Promise<T> {
    const id = `${this.word}-${++this.count}`;
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(id, { resolve: result => resolve(result as T), reject });
      this.model.send({ id, method, params });
    });
  }

  private readonly onReply = ({ id = '', result, error }: Reply): void => {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (error) {
      waiting?.reject(new BackendError(error.message, error.hint));
    } else {
      waiting?.resolve(result);
    }
  };
}
