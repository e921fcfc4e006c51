/**
 * Who answers the views: a kernel over a comm, or a server over REST.
 *
 * What can be asked is a type, `Questions`: a function for each, from what it is told to what it answers. Each view has
 * its own (`DiffQuestions`, `MergeQuestions`, `BoardQuestions`).
 */
export interface Backend<Questions extends Asking<Questions>> {
  /** Ask, and wait for the answer. What fails, or is given up through the signal, rejects with a `BackendError`. */
  ask<Method extends keyof Questions & string>(
    method: Method,
    told: Parameters<Questions[Method]>[0],
    options?: AskOptions
  ): Promise<ReturnType<Questions[Method]>>;

  /** Hear of what happens without being asked for; the function returned ends that. */
  listen(heard: (happening: Happening) => void): () => void;
}

/** Any set of questions. */
export type Asking<Questions> = { [Method in keyof Questions]: (told: never) => unknown };

/** What a question is told that needs to be told nothing. */
export type Nothing = Record<string, never>;

export interface AskOptions {
  /** Called while a long answer is worked on, as often as there is news. */
  onProgress?: (progress: Progress) => void;
  /** Gives the question up. */
  signal?: AbortSignal;
}

/** How far a long answer has come, in bytes. */
export interface Progress {
  what: string;
  done: number;
  total: number;
}

/** What is shown has changed elsewhere: in another view, or in a terminal. */
export interface Happening {
  event: 'changed';
  revision: number;
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
