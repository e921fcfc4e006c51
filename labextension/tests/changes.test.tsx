import { screen, within } from '@testing-library/react';
import { describe, expect, it } from 'vitest';

import type { Change } from '../src/api/panel';
import { change, merging, status } from './fakes';
import { only, show, texts, tools, type Shown } from './show';

function showChanges(...changes: Change[]): Promise<Shown> {
  return show({ status: status({ changes }) });
}

const untracked = (path: string): Change => change(path, { letter: '?', state: 'untracked', summary: '' });
const staged = (path: string, part: Partial<Change> = {}): Change =>
  change(path, { state: 'staged', staged: true, ...part });
const row = (path: string): HTMLElement => only(`[data-testid="theta-change-row"][data-path="${path}"]`);
const main = (path: string): HTMLElement => only('[data-main]', row(path));
const message = (): HTMLElement => screen.getByLabelText('Message of the commit');
const button = (): HTMLElement => screen.getByTestId('theta-commit');

describe('the list of changes', () => {
  it('has a group for what is staged, changed and not tracked', async () => {
    await showChanges(untracked('new.pt'), change('a.pt'), staged('b.pt'), change('c.pt'));
    const groups = within(screen.getByTestId('theta-section-changes')).getAllByRole('group');
    expect(groups.map(group => [group.getAttribute('aria-label'), texts('.theta-path', group)])).toEqual([
      ['Staged', ['b.pt']],
      ['Changed', ['a.pt', 'c.pt']],
      ['Not tracked', ['new.pt']]
    ]);
    expect(groups.map(group => texts('h4', group))).toEqual([['Staged1'], ['Changed2'], ['Not tracked1']]);
  });

  it('leaves out groups that are empty', async () => {
    await showChanges(change('a.pt'));
    expect(texts('[data-testid="theta-section-changes"] h4')).toEqual(['Changed1']);
  });

  it('leaves conflicts to their own section', async () => {
    await show({
      status: status({ changes: [change('a.pt', { letter: 'U', state: 'conflict' })], merge: merging() })
    });
    expect(screen.queryByTestId('theta-change-row')).toBeNull();
    expect(screen.getByRole('button', { name: 'Changes' })).toBeDefined();
  });

  it('says that there is nothing to see', async () => {
    await showChanges();
    expect(screen.getByText('Every tracked model is as in HEAD.')).toBeDefined();
  });

  it('says that nothing is tracked before the first commit', async () => {
    await show({ status: status({ commits: false }) });
    expect(screen.getByText('Nothing is tracked yet.')).toBeDefined();
  });

  it('shows the name first, and the folder after it', async () => {
    await showChanges(change('models/deep/a.pt'));
    expect(texts('.theta-path > span')).toEqual(['a.pt', 'models/deep']);
    expect(main('models/deep/a.pt').title).toBe('models/deep/a.pt\n101 of 104 tensors, ~0.0017');
  });

  it.each<[letter: string, note: string, part: Partial<Change>]>([
    ['M', '~0.0017', {}],
    ['M', '0.0017', { estimated: false }],
    ['M', '3 of 104', { relative: null, changed: 3 }],
    ['M', '0 of 104', { relative: 0, changed: 0 }],
    ['A', '33 MB', { letter: 'A', state: 'new' }],
    ['D', 'deleted', { letter: 'D', state: 'deleted' }],
    ['!', 'weights not here', { letter: '!', state: 'manifest' }],
    ['?', 'track', { letter: '?', state: 'untracked' }]
  ])('has the letter %s, and says %s', async (letter, note, part) => {
    await showChanges(change('a.pt', part));
    expect(texts('.theta-letter', row('a.pt'))).toEqual([letter]);
    expect(texts('.theta-line-note', row('a.pt'))).toEqual([note]);
  });

  it('draws the change of each block', async () => {
    await showChanges(change('a.pt', { miniature: { path: 'a.pt', blocks: ['1'], values: [0.1], text: '1: 0.1' } }));
    expect(within(row('a.pt')).getByRole('img', { name: '1: 0.1' })).toBeDefined();
  });
});

describe('the tools of a change', () => {
  it.each<[what: string, part: Partial<Change>, names: string[]]>([
    ['a change', {}, ['Show changes of a.pt', 'Discard changes of a.pt', 'Stage a.pt']],
    [
      'a staged change',
      { state: 'staged', staged: true },
      ['Show changes of a.pt', 'Discard changes of a.pt', 'Unstage a.pt']
    ],
    ['a new model', { state: 'new' }, ['Show changes of a.pt', 'Stage a.pt']],
    ['a new model that is staged', { state: 'new', staged: true }, ['Show changes of a.pt', 'Unstage a.pt']],
    ['a deleted model', { state: 'deleted' }, ['Discard changes of a.pt', 'Stage a.pt']],
    ['a model without its weights', { state: 'manifest' }, ['Discard changes of a.pt']],
    ['a file that is not tracked', { state: 'untracked' }, ['Track a.pt']]
  ])('fit %s', async (_, part, names) => {
    await showChanges(change('models/a.pt', part));
    expect(tools(row('models/a.pt'))).toEqual(names);
  });

  it('do what they are called', async () => {
    const { user, backend, actions } = await showChanges(
      change('models/a.pt'),
      staged('models/b.pt'),
      untracked('c.pt')
    );
    await user.click(screen.getByRole('button', { name: 'Show changes of a.pt' }));
    expect(actions.openDiff).toHaveBeenCalledExactlyOnceWith({ old: 'HEAD', new: '', path: 'models/a.pt' });
    await user.click(screen.getByRole('button', { name: 'Stage a.pt' }));
    expect(backend.last('stage').told).toEqual({ paths: ['models/a.pt'] });
    await user.click(screen.getByRole('button', { name: 'Unstage b.pt' }));
    expect(backend.last('unstage').told).toEqual({ paths: ['models/b.pt'] });
    await user.click(screen.getByRole('button', { name: 'Track c.pt' }));
    expect(backend.last('track').told).toEqual({ paths: ['c.pt'] });
    await user.click(screen.getByRole('button', { name: 'Discard changes of a.pt' }));
    expect(actions.confirm.mock.lastCall?.[0].body).toContain('models/a.pt goes back to what HEAD has.');
    expect(backend.last('discard').told).toEqual({ paths: ['models/a.pt'] });
    expect(backend.changes).toEqual(['stage', 'unstage', 'track', 'discard']);
  });
});

describe('keys in the list of changes', () => {
  it('go from row to row, also into the next group, and no further than the last', async () => {
    const { user } = await showChanges(untracked('c.pt'), change('b.pt'), staged('a.pt'));
    main('a.pt').focus();
    await user.keyboard('{ArrowDown}');
    expect(document.activeElement).toBe(main('b.pt'));
    await user.keyboard('{ArrowDown}{ArrowDown}');
    expect(document.activeElement).toBe(main('c.pt'));
    await user.keyboard('{ArrowUp}');
    expect(document.activeElement).toBe(main('b.pt'));
    await user.keyboard('{Home}{ArrowUp}');
    expect(document.activeElement).toBe(main('a.pt'));
    await user.keyboard('{End}');
    expect(document.activeElement).toBe(main('c.pt'));
  });

  it('reach one row and its tools by Tab', async () => {
    const { user } = await showChanges(change('a.pt'), change('b.pt'));
    const reached = (path: string): number[] =>
      [...row(path).querySelectorAll('button')].map(({ tabIndex }) => tabIndex);
    expect([reached('a.pt'), reached('b.pt')]).toEqual([
      [0, 0, 0, 0],
      [-1, -1, -1, -1]
    ]);
    main('a.pt').focus();
    await user.keyboard('{ArrowDown}');
    expect([reached('a.pt'), reached('b.pt')]).toEqual([
      [-1, -1, -1, -1],
      [0, 0, 0, 0]
    ]);
    await user.tab();
    expect(document.activeElement).toBe(screen.getByRole('button', { name: 'Show changes of b.pt' }));
  });

  it('go on from the row that was clicked', async () => {
    const { user } = await showChanges(change('a.pt'), change('b.pt'), change('c.pt'));
    await user.click(main('b.pt'));
    await user.keyboard('{ArrowDown}');
    expect(document.activeElement).toBe(main('c.pt'));
  });

  it('still lead to a row when the last one has gone', async () => {
    const { user, world, session } = await showChanges(change('a.pt'), change('b.pt'));
    await user.click(main('b.pt'));
    world.status = status({ changes: [change('a.pt')] });
    await session.refresh();
    await screen.findByText('Changed');
    expect(main('a.pt').tabIndex).toBe(0);
  });

  it('open the diff by Enter', async () => {
    const { user, actions } = await showChanges(change('models/a.pt'));
    main('models/a.pt').focus();
    await user.keyboard('{Enter}');
    expect(actions.openDiff).toHaveBeenCalledExactlyOnceWith({ old: 'HEAD', new: '', path: 'models/a.pt' });
  });
});

describe('a click on a change', () => {
  it('opens the model, if that is wanted', async () => {
    const { user, actions } = await show({ status: status({ changes: [change('a.pt')] }) }, { clickAction: 'model' });
    await user.click(main('a.pt'));
    expect(actions.openModel).toHaveBeenCalledExactlyOnceWith('a.pt');
    expect(actions.openDiff).not.toHaveBeenCalled();
  });

  it('tracks what is not tracked', async () => {
    const { user, backend } = await showChanges(untracked('a.pt'));
    await user.click(main('a.pt'));
    expect(backend.last('track').told).toEqual({ paths: ['a.pt'] });
  });

  it.each(['deleted', 'manifest'] as const)('brings back what is %s, if somebody is sure', async state => {
    const { user, backend, actions } = await showChanges(change('a.pt', { state }));
    actions.confirm.mockResolvedValueOnce(false);
    await user.click(main('a.pt'));
    expect(backend.changes).toEqual([]);
    await user.click(main('a.pt'));
    expect(backend.changes).toEqual(['discard']);
  });
});

describe('the commit box', () => {
  it('commits by a click on the button', async () => {
    const { user, backend, session } = await showChanges(change('a.pt'));
    await user.type(message(), 'fine-tune');
    await user.click(button());
    expect(backend.last('commit').told).toEqual({ message: 'fine-tune' });
    expect(session.get().message).toBe('');
  });

  it.each(['Control', 'Meta'])('commits by %s and Enter', async key => {
    const { user, backend } = await showChanges(change('a.pt'));
    await user.type(message(), `fine-tune{${key}>}{Enter}{/${key}}`);
    expect(backend.of('commit').map(({ told }) => told)).toEqual([{ message: 'fine-tune' }]);
  });

  it('begins a new line by Enter alone', async () => {
    const { user, backend, session } = await showChanges(change('a.pt'));
    await user.type(message(), 'one{Enter}two');
    expect(session.get().message).toBe('one\ntwo');
    expect(backend.changes).toEqual([]);
  });

  it('does not commit without a message', async () => {
    const { user, backend } = await showChanges(change('a.pt'));
    expect(button()).toHaveProperty('disabled', true);
    await user.type(message(), '  {Control>}{Enter}{/Control}');
    expect(button()).toHaveProperty('disabled', true);
    expect(backend.changes).toEqual([]);
    await user.type(message(), 'x');
    expect(button()).toHaveProperty('disabled', false);
  });

  it.each([
    ['nothing has changed', []],
    ['nothing is tracked', [untracked('a.pt')]],
    ['there are no weights', [change('a.pt', { state: 'manifest' })]]
  ])('does not commit if %s', async (_, changes) => {
    const { user, backend } = await showChanges(...changes);
    await user.type(message(), 'x{Control>}{Enter}{/Control}');
    expect(button()).toHaveProperty('disabled', true);
    expect(screen.getByTestId('theta-stores').textContent).toBe('');
    expect(backend.changes).toEqual([]);
  });

  it('does not commit while something else is done', async () => {
    const { user, backend } = await showChanges(change('a.pt'));
    await user.type(message(), 'x');
    backend.hold('stage');
    await user.click(screen.getByRole('button', { name: 'Stage a.pt' }));
    expect(button()).toHaveProperty('disabled', true);
    await user.type(message(), '{Control>}{Enter}{/Control}');
    backend.last('stage').resolve({ message: '', details: [] });
    await expect.poll(() => button()).toHaveProperty('disabled', false);
    expect(backend.changes).toEqual(['stage']);
  });

  it('says how much all changes will store', async () => {
    await showChanges(
      change('a.pt', { stores: 1e6, size: 4e6 }),
      change('b.pt', { stores: 2e6, size: 5e6, state: 'new' }),
      change('c.pt', { stores: 9e6, size: 9e6, state: 'untracked' }),
      change('d.pt', { stores: 9e6, size: 9e6, state: 'manifest' })
    );
    expect(screen.getByTestId('theta-stores').textContent).toBe('will store 3 MB of 9 MB');
    expect(button().textContent).toBe('Commit all');
  });

  it('speaks of what is staged alone, if anything is', async () => {
    await showChanges(change('a.pt', { stores: 1e6, size: 4e6 }), staged('b.pt', { stores: 2e6, size: 5e6 }));
    expect(screen.getByTestId('theta-stores').textContent).toBe('will store 2 MB of 5 MB');
    expect(button().textContent).toBe('Commit staged');
  });

  it('tells of other files that a commit would take along', async () => {
    const { user, world, session } = await show({ status: status({ also_staged: ['train.py'] }) });
    expect(screen.getByText('and 1 other staged file').title).toBe('train.py');
    expect(screen.getByTestId('theta-stores').textContent).toBe('ready to commit');
    await user.type(message(), 'x');
    expect(button()).toHaveProperty('disabled', false);
    world.status = status({ also_staged: ['train.py', 'notes.md'] });
    await session.refresh();
    expect((await screen.findByText('and 2 other staged files')).title).toBe('train.py\nnotes.md');
  });

  it('is not there during a merge', async () => {
    await show({ status: status({ changes: [change('a.pt')], merge: merging() }) });
    expect(row('a.pt')).toBeDefined();
    expect(screen.queryByTestId('theta-commit')).toBeNull();
  });
});
