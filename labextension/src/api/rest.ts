/**
 * Asks the server, which answers for every repository below its root.
 *
 * An answer that takes longer than a moment is a task: it is asked after until it is there, and can be cancelled. Then
 * it ends when it next looks up, and so does the question: whatever comes after it finds it over.
 */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { BackendError, type AskOptions, type Asking, type Backend, type Progress } from './backend';
import type { Done, Found } from './panel';

/** What is compared; empty is the work tree, and without a path, all models. */
export interface Between {
  old: string;
  new: string;
  path: string;
}

interface Answer {
  result?: unknown;
  task?: string;
  progress?: Progress;
  message?: string;
  hint?: string;
}

export class RestBackend<Questions extends Asking<Questions>> implements Backend<Questions> {
  constructor(
    private readonly view: 'panel' | 'diff' | 'merge',
    private readonly repository: string,
    private readonly of?: Between,
    private readonly settings = ServerConnection.makeSettings()
  ) {}

  async ask<Method extends keyof Questions & string>(
    method: Method,
    told: Parameters<Questions[Method]>[0],
    options?: AskOptions
  ): Promise<ReturnType<Questions[Method]>> {
    const { view, repository, of, settings } = this;
    const body = { repository, ...(of ? { of } : {}), told };
    const result = await answerOf(settings, ['ask', view, method], body, options);
    return result as ReturnType<Questions[Method]>;
  }

  /** The server tells nothing of its own accord. Who is on the page does: see `open.ts`. */
  listen(): () => void {
    return () => undefined;
  }
}

/** The repository around a folder or a file, given by its path from the server's root. */
export async function find(path: string): Promise<Found> {
  return (await answerOf(ServerConnection.makeSettings(), ['find'], { path })) as Found;
}

/** Make a folder a repository, or set Theta up in the one there is. */
export async function init(path: string): Promise<Done> {
  return (await answerOf(ServerConnection.makeSettings(), ['init'], { path })) as Done;
}

/** How often the server is asked whether a task that was cancelled is over; it waits a second each time. */
const PATIENCE = 10;

/** Ask, and wait for as long as it takes. */
async function answerOf(
  settings: ServerConnection.ISettings,
  path: readonly string[],
  body: object,
  { onProgress, signal }: AskOptions = {}
): Promise<unknown> {
  if (signal?.aborted) {
    throw cancelled();
  }
  // The first request is let through: only its answer says what there is to cancel.
  let answer = await request(settings, 'POST', path, body);
  while (answer.task !== undefined) {
    const { task, progress } = answer;
    if (progress) {
      onProgress?.(progress);
    }
    try {
      answer = await request(settings, 'GET', ['tasks', task], undefined, signal);
    } catch (error) {
      if (!signal?.aborted) {
        throw error;
      }
    }
    if (signal?.aborted && answer.task !== undefined) {
      // It may come to its end just now, and then there is nothing to cancel.
      await request(settings, 'DELETE', ['tasks', task]).catch(() => undefined);
      for (let tries = 0; answer.task !== undefined && tries < PATIENCE; tries++) {
        answer = await request(settings, 'GET', ['tasks', task]).catch(() => ({}));
      }
      if (answer.result === undefined) {
        throw cancelled();
      }
    }
  }
  return answer.result;
}

function cancelled(): BackendError {
  return new BackendError('it was cancelled');
}

/** Send, and read what comes back; whatever goes wrong is a `BackendError`. */
async function request(
  settings: ServerConnection.ISettings,
  method: 'GET' | 'POST' | 'DELETE',
  path: readonly string[],
  body?: object,
  signal?: AbortSignal
): Promise<Answer> {
  const url = URLExt.join(settings.baseUrl, 'theta', ...path.map(encodeURIComponent));
  const init = { method, ...(body ? { body: JSON.stringify(body) } : {}), ...(signal ? { signal } : {}) };
  let response: Response;
  try {
    response = await ServerConnection.makeRequest(url, init, settings);
  } catch {
    throw new BackendError('the Jupyter server does not answer', 'Is it still running? Everything is safe on disk.');
  }
  if (response.status === 204) {
    return {};
  }
  const answer = await (response.json() as Promise<Answer>).catch((): Answer => ({}));
  if (!response.ok) {
    const { message, hint } = answer;
    throw response.status === 404 && message === undefined
      ? new BackendError('the Jupyter server does not know Theta', 'Restart it, so that it loads its extension.')
      : new BackendError(message ?? `the Jupyter server answers ${response.status} ${response.statusText}`, hint);
  }
  return answer;
}
