import { ServerConnection } from '@jupyterlab/services';
import { describe, expect, it, vi } from 'vitest';

import { BackendError, type Progress } from '../src/api/backend';
import type { PanelQuestions } from '../src/api/panel';
import { RestBackend, type Between } from '../src/api/rest';

/** A request, as far as it matters. */
interface Sent {
  method: string;
  path: string;
  body: unknown;
  isGivenUp: () => boolean;
}

type Reply = Response | ((sent: Sent) => Response | Promise<Response>);

const json = (status: number, body: unknown, statusText = ''): Response =>
  new Response(JSON.stringify(body), { status, statusText });

/** A server that gives these replies, one after the other. */
function server(...replies: Reply[]): { sent: Sent[]; settings: ServerConnection.ISettings } {
  const sent: Sent[] = [];
  const answer = async (info: RequestInfo | URL): Promise<Response> => {
    const request = info as Request;
    const text = await request.text();
    const { pathname } = new URL(request.url);
    const isGivenUp = (): boolean => request.signal.aborted;
    sent.push({ method: request.method, path: pathname, body: text ? (JSON.parse(text) as unknown) : null, isGivenUp });
    const reply = replies[sent.length - 1];
    const last = sent.at(-1);
    if (!reply || !last) {
      throw new Error('nobody expected another request');
    }
    return typeof reply === 'function' ? reply(last) : reply;
  };
  const settings = ServerConnection.makeSettings({ baseUrl: 'http://lab.test/user/ann/', fetch: answer });
  return { sent, settings };
}

function panel(settings: ServerConnection.ISettings, of?: Between): RestBackend<PanelQuestions> {
  return new RestBackend<PanelQuestions>('panel', 'models/bert', of, settings);
}

const paths = (sent: Sent[]): string[] => sent.map(({ method, path }) => `${method} ${path}`);
const failed = (ask: Promise<unknown>): Promise<unknown> =>
  ask.then(
    () => 'it did not fail',
    (error: unknown) => error
  );

describe('asking the server', () => {
  it('sends what is asked, below the base of the server', async () => {
    const { sent, settings } = server(json(200, { result: { message: 'staged', details: [] } }));
    expect(await panel(settings).ask('stage', { paths: ['a.pt'] })).toEqual({ message: 'staged', details: [] });
    expect(paths(sent)).toEqual(['POST /user/ann/theta/ask/panel/stage']);
    expect(sent[0]?.body).toEqual({ repository: 'models/bert', told: { paths: ['a.pt'] } });
  });

  it('says what is compared', async () => {
    const { sent, settings } = server(json(200, { result: null }));
    const of = { old: 'HEAD', new: '', path: 'a.pt' };
    await panel(settings, of).ask('status', {});
    expect(sent[0]?.body).toEqual({ repository: 'models/bert', of, told: {} });
  });

  it('waits for a task, and tells how far it is', async () => {
    const progress = (done: number): Progress => ({ what: 'hashing', done, total: 9 });
    const { sent, settings } = server(
      json(202, { task: 'a/b?c' }),
      json(202, { task: 'a/b?c', progress: progress(3) }),
      json(202, { task: 'a/b?c', progress: progress(6) }),
      json(200, { result: { key: 'k' } })
    );
    const told: Progress[] = [];
    const answer = await panel(settings).ask('pulse', {}, { onProgress: news => told.push(news) });
    expect(answer).toEqual({ key: 'k' });
    expect(told).toEqual([progress(3), progress(6)]);
    expect(paths(sent).slice(1)).toEqual(Array(3).fill('GET /user/ann/theta/tasks/a%2Fb%3Fc'));
  });

  it('tells how far it is when the first answer already says so', async () => {
    const progress = { what: 'hashing', done: 1, total: 2 };
    const { settings } = server(json(202, { task: 't', progress }), json(200, { result: 1 }));
    const onProgress = vi.fn();
    await panel(settings).ask('pulse', {}, { onProgress });
    expect(onProgress.mock.calls).toEqual([[progress]]);
  });
});

describe('what goes wrong', () => {
  it('is told as the server tells it, with what to do about it', async () => {
    const { settings } = server(json(409, { message: 'the remote is ahead', hint: 'Pull first.' }));
    const error = await failed(panel(settings).ask('push', {}));
    expect(error).toBeInstanceOf(BackendError);
    expect(error).toMatchObject({ message: 'the remote is ahead', hint: 'Pull first.' });
  });

  it('may be without a hint', async () => {
    const { settings } = server(json(409, { message: 'no' }));
    expect(await failed(panel(settings).ask('push', {}))).toMatchObject({ message: 'no', hint: '' });
  });

  it('may come while a task is waited for', async () => {
    const { sent, settings } = server(json(202, { task: 't' }), json(409, { message: 'the disk is full' }));
    expect(await failed(panel(settings).ask('push', {}))).toMatchObject({ message: 'the disk is full' });
    expect(sent).toHaveLength(2);
  });

  it('is that nobody answers', async () => {
    const { settings } = server(() => {
      throw new TypeError('Failed to fetch');
    });
    const error = await failed(panel(settings).ask('push', {}));
    expect(error).toBeInstanceOf(BackendError);
    expect(error).toMatchObject({ message: 'the Jupyter server does not answer', hint: expect.any(String) as string });
  });

  it('is that the server goes away in the middle', async () => {
    const { sent, settings } = server(json(202, { task: 't' }), () => {
      throw new TypeError('Failed to fetch');
    });
    expect(await failed(panel(settings).ask('push', {}))).toMatchObject({
      message: 'the Jupyter server does not answer'
    });
    expect(sent).toHaveLength(2);
  });

  it('is that the server has no such extension', async () => {
    const { settings } = server(new Response('<html>404</html>', { status: 404 }));
    expect(await failed(panel(settings).ask('push', {}))).toMatchObject({
      message: 'the Jupyter server does not know Theta',
      hint: expect.stringContaining('Restart it') as string
    });
  });

  it('is not a missing extension if the extension itself says that something is missing', async () => {
    const { settings } = server(json(404, { message: 'there is no question of that name', hint: '' }));
    expect(await failed(panel(settings).ask('push', {}))).toMatchObject({
      message: 'there is no question of that name'
    });
  });

  it('may be no JSON at all', async () => {
    const { settings } = server(new Response('<h1>oops</h1>', { status: 502, statusText: 'Bad Gateway' }));
    expect(await failed(panel(settings).ask('push', {}))).toMatchObject({
      message: 'the Jupyter server answers 502 Bad Gateway'
    });
  });
});

describe('giving up', () => {
  it('sends nothing if it was given up before', async () => {
    const { sent, settings } = server();
    const error = await failed(panel(settings).ask('push', {}, { signal: AbortSignal.abort() }));
    expect(error).toBeInstanceOf(BackendError);
    expect(error).toMatchObject({ message: 'it was cancelled' });
    expect(sent).toEqual([]);
  });

  it('cancels the task that is waited for', async () => {
    const controller = new AbortController();
    const { sent, settings } = server(
      json(202, { task: 't1' }),
      () => {
        controller.abort();
        throw new DOMException('aborted', 'AbortError');
      },
      new Response(null, { status: 204 }),
      // It has not looked up yet.
      json(202, { task: 't1' }),
      json(409, { message: 'interrupted', hint: '' })
    );
    const error = await failed(panel(settings).ask('push', {}, { signal: controller.signal }));
    expect(error).toBeInstanceOf(BackendError);
    expect(error).toMatchObject({ message: 'it was cancelled' });
    expect(paths(sent)).toEqual([
      'POST /user/ann/theta/ask/panel/push',
      'GET /user/ann/theta/tasks/t1',
      'DELETE /user/ann/theta/tasks/t1',
      'GET /user/ann/theta/tasks/t1',
      'GET /user/ann/theta/tasks/t1'
    ]);
    // The last ones must reach the server all the same.
    expect(sent.map(({ isGivenUp }) => isGivenUp())).toEqual([false, true, false, false, false]);
  });

  it('tells of what came to its end all the same', async () => {
    const controller = new AbortController();
    const { settings } = server(
      json(202, { task: 't1' }),
      () => {
        controller.abort();
        throw new DOMException('aborted', 'AbortError');
      },
      new Response(null, { status: 204 }),
      json(200, { result: { message: 'pushed', details: [] } })
    );
    expect(await panel(settings).ask('push', {}, { signal: controller.signal })).toMatchObject({ message: 'pushed' });
  });

  it('does not wait for ever', async () => {
    const controller = new AbortController();
    const { sent, settings } = server(
      () => {
        controller.abort();
        return json(202, { task: 't1' });
      },
      ...Array.from({ length: 50 }, () => () => json(202, { task: 't1' }))
    );
    expect(await failed(panel(settings).ask('push', {}, { signal: controller.signal }))).toMatchObject({
      message: 'it was cancelled'
    });
    expect(sent.length).toBeLessThan(20);
  });

  it('cancels a task whose number is not known yet, once it is', async () => {
    const controller = new AbortController();
    const { sent, settings } = server(
      ({ isGivenUp }) => {
        controller.abort();
        expect(isGivenUp()).toBe(false);
        return json(202, { task: 't1' });
      },
      json(202, { task: 't1' }),
      new Response(null, { status: 204 }),
      json(409, { message: 'interrupted', hint: '' })
    );
    expect(await failed(panel(settings).ask('push', {}, { signal: controller.signal }))).toMatchObject({
      message: 'it was cancelled'
    });
    expect(paths(sent)).toContain('DELETE /user/ann/theta/tasks/t1');
  });

  it('is done even if the task is over before it can be cancelled', async () => {
    const controller = new AbortController();
    const { settings } = server(
      json(202, { task: 't1' }),
      () => {
        controller.abort();
        throw new DOMException('aborted', 'AbortError');
      },
      json(404, { message: 'nothing of that number is being worked on', hint: 'ask again' })
    );
    expect(await failed(panel(settings).ask('push', {}, { signal: controller.signal }))).toMatchObject({
      message: 'it was cancelled'
    });
  });

  it('is too late for what is done already', async () => {
    const controller = new AbortController();
    const { settings } = server(() => {
      controller.abort();
      return json(200, { result: { message: 'pushed', details: [] } });
    });
    expect(await panel(settings).ask('push', {}, { signal: controller.signal })).toEqual({
      message: 'pushed',
      details: []
    });
  });
});
