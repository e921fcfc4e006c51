/**
 * Asks the kernel, over the comm of an anywidget model.
 *
 * A request is `{id, method, params}`; what comes back carries its id: `progress` any number of times, then `result` or
 * `error`. Every view of a model hears every reply, so ids begin with a word of their own. A kernel that is busy answers
 * late, and one that is gone never does: callers show what they have, and do not wait.
 */
import { BackendError, type AskOptions, type Asking, type Backend, type Happening, type Progress } from './backend';

/** What we use of an anywidget model. */
export interface Model {
  get(name: string): unknown;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: object): void;
  on(event: string, handler: (...values: never[]) => void): void;
  off(event: string, handler: (...values: never[]) => void): void;
}

interface Reply extends Partial<Happening> {
  id?: string;
  progress?: Progress;
  result?: unknown;
  error?: { message: string; hint?: string };
}

interface Waiting {
  resolve: (result: unknown) => void;
  reject: (error: Error) => void;
  onProgress: ((progress: Progress) => void) | undefined;
}

export class CommBackend<Questions extends Asking<Questions>> implements Backend<Questions> {
  private readonly word = Math.random().toString(36).slice(2);
  private readonly waiting = new Map<string, Waiting>();
  private readonly listeners = new Set<(happening: Happening) => void>();
  private count = 0;

  constructor(private readonly model: Model) {
    model.on('msg:custom', this.onReply);
  }

  ask<Method extends keyof Questions & string>(
    method: Method,
    told: Parameters<Questions[Method]>[0],
    { onProgress, signal }: AskOptions = {}
  ): Promise<ReturnType<Questions[Method]>> {
    const id = `${this.word}-${++this.count}`;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      signal?.addEventListener('abort', () => this.cancel(id));
      this.waiting.set(id, { resolve: resolve as Waiting['resolve'], reject, onProgress });
      this.model.send({ id, method, params: told });
    });
  }

  listen(heard: (happening: Happening) => void): () => void {
    this.listeners.add(heard);
    return () => this.listeners.delete(heard);
  }

  /** Hear no more replies. What is still waiting stays so: nobody looks at it any longer. */
  dispose(): void {
    this.model.off('msg:custom', this.onReply);
    this.waiting.clear();
    this.listeners.clear();
  }

  /** Give a question up: its answer is then that it was interrupted, unless it is there already. */
  private cancel(id: string): void {
    if (this.waiting.has(id)) {
      this.model.send({ method: 'cancel', params: { id } });
    }
  }

  private readonly onReply = ({ id = '', progress, result, error, event, revision = 0 }: Reply): void => {
    if (event) {
      this.listeners.forEach(heard => heard({ event, revision }));
      return;
    }
    const waiting = this.waiting.get(id);
    if (progress) {
      waiting?.onProgress?.(progress);
      return;
    }
    this.waiting.delete(id);
    if (error) {
      waiting?.reject(new BackendError(error.message, error.hint));
    } else {
      waiting?.resolve(result);
    }
  };
}
