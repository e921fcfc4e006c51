/** Names come from repositories that strangers made: they are text, and what cannot be seen in them is shown. */
import { act, render, screen } from '@testing-library/react';
import { describe, expect, it, vi } from 'vitest';

import { BackendError } from '../src/api/backend';
import { EmptyPanel, PanelView } from '../src/views/panel';
import { WordsContext, type Words } from '../src/views/panel/actions';
import { branch, change, commit, merging, stage, status } from './fakes';
import { show } from './show';

const UNSEEN = /[\u0000-\u0009\u000b-\u001f\u007f\u202e]/u; // eslint-disable-line no-control-regex -- this is about them

/** Nothing is drawn or run, and nothing unseen is left: neither in what is read nor in what pointing at it shows. */
function isTame(): void {
  expect(document.querySelectorAll('img, script, b, [onerror]')).toHaveLength(0);
  expect(document.body.textContent).not.toMatch(UNSEEN);
  const shown = [...document.querySelectorAll<HTMLElement>('[title]:not(.theta-tool)')].map(({ title }) => title);
  expect(shown.filter(title => UNSEEN.test(title))).toEqual([]);
}

const NAMES = [
  ['an image', '<img src=x onerror=1>', '<img src=x onerror=1>'],
  ['a tag that does nothing', '<b>bold&amp;', '<b>bold&amp;'],
  ['characters of control', 'a\u0000\u0007\u001b[31mb\tc', 'a\\x00\\x07\\x1b[31mb\\tc'],
  ['text from right to left', 'a\u202egnp.exe', 'a\\u202egnp.exe']
] as const;

describe.each(NAMES)('%s', (_, name, text) => {
  it('is text in the header, changes and conflicts', async () => {
    const found = status({
      branch: name,
      upstream: { name, ahead: 1, behind: 0 },
      changes: [
        change(`${name}/deep/${name}`, {
          summary: name,
          miniature: { path: name, blocks: [name], values: [0.5], text: name }
        })
      ],
      merge: merging({ title: name, files: [{ path: name, conflicts: 2, left: 1 }], others: [name] })
    });
    await show({ status: found }, { name });
    isTame();
    const read = (id: string): string => screen.getByTestId(id).textContent;
    // The repository and the branch; title, file and other file; the name, its folder twice, and the title of its picture.
    expect(read('theta-panel').split(text).length - 1).toBe(2 + 3 + 3);
  });

  it('is text beside the button that commits', async () => {
    await show({ status: status({ also_staged: [name] }) });
    expect(screen.getByText('and 1 other staged file').title).toBe(text);
  });

  it('is text in branches and commits', async () => {
    const { user } = await show({
      branches: [branch(name, { subject: name, current: true })],
      commits: [
        commit('c1', {
          ...{ subject: name, body: `${name}\n${name}`, author: name, models: [name], derived_from: [name] },
          ...{ merged_by: [name], refs: [{ name, kind: 'tag', current: false }] },
          miniatures: [{ path: name, blocks: [name], values: [0.5], text: name }]
        })
      ]
    });
    await user.click(screen.getByTestId('theta-history-row'));
    isTame();
    expect(screen.getByTestId('theta-branch-row').textContent.split(text)).toHaveLength(3);
    expect(screen.getByTestId('theta-history-row').textContent.split(text)).toHaveLength(4);
    expect(screen.getByTestId('theta-commit-details').textContent.split(text)).toHaveLength(8);
  });

  it('is text in what went wrong', async () => {
    const { session, backend } = await show({ status: status({ remotes: ['origin'] }) });
    backend.answers['push'] = () => {
      throw new BackendError(name, name);
    };
    await session.push();
    expect((await screen.findByTestId('theta-failure')).textContent).toBe(text + text);
    isTame();
  });

  it('is text in what goes on', async () => {
    const { session, backend } = await show();
    backend.hold('switch');
    void session.switchTo(name);
    const busy = screen.getByTestId('theta-busy');
    await vi.waitFor(() => expect(busy.textContent).toBe(`Switching to ${text}…`));
    act(() => backend.last('switch').options.onProgress?.({ what: name, done: 1, total: 2 }));
    expect(busy.textContent).toBe(`Switching to ${text}… ${text}`);
    expect(screen.getByRole('progressbar', { name: `Switching to ${text}…` })).toBeTruthy();
    isTame();
  });

  it('is text where there is no repository', () => {
    const found = { repository: null, ready: false };
    const { rerender } = render(<EmptyPanel found={{ ...found, name, reason: '' }} onInit={() => undefined} />);
    expect(screen.getByTestId('theta-panel').textContent).toContain(text);
    rerender(<EmptyPanel found={{ ...found, name: '', reason: name }} onInit={() => undefined} />);
    expect(screen.getByTestId('theta-panel').textContent).toBe(text);
  });
});

it('is part of no code: a path ends neither its string nor its line', async () => {
  const path = 'a"\n+ __import__("os").system("x") #\\.pt';
  const { user, actions } = await show({ commits: [commit('c1', { models: [path] })] });
  await user.click(screen.getByTestId('theta-history-row'));
  await user.click(screen.getByRole('button', { name: 'Insert loading code' }));
  const [code = ''] = actions.insertCode.mock.lastCall ?? [];
  const lines = code.split('\n');
  expect(lines).toHaveLength(3);
  const [, quoted = ''] = /^tensors = load\((".*"), ref="c1"\)$/u.exec(lines[2] ?? '') ?? [];
  expect(quoted).toMatch(/^"(?:[^"\\]|\\.)*"$/u);
  expect(JSON.parse(quoted)).toBe(path);
});

it('may be in words whose methods want to know whose they are, as those of JupyterLab do', async () => {
  class Bundle implements Words {
    private readonly marks: [string, string] = ['«', '»'];
    __(text: string): string {
      return this.marks.join(text);
    }
    _n(one: string, many: string, count: number): string {
      return this.__(count === 1 ? one : many);
    }
  }
  const words = new Bundle();
  const { session, actions } = stage({ status: status({ also_staged: ['a', 'b'] }) }, { words });
  render(
    <WordsContext.Provider value={words}>
      <PanelView session={session} actions={actions} name="x" onInit={() => undefined} />
    </WordsContext.Provider>
  );
  expect(await screen.findByText('«and %1 other staged files»')).toBeTruthy();
  await session.discard('a');
  expect(actions.confirm.mock.lastCall?.[0].title).toBe('«Discard changes?»');
});
