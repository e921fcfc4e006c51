import { screen, within } from '@testing-library/react';
import { describe, expect, it } from 'vitest';

import type { Branch, Status } from '../src/api/panel';
import { branch, merging, status } from './fakes';
import { only, show, texts, tools, type Shown } from './show';

function showBranches(branches: Branch[], part: Partial<Status> = {}): Promise<Shown> {
  return show({ branches, status: status(part) });
}

const here = branch('main', { current: true });
const remote = (name: string): Branch => branch(name, { remote: true });
const row = (name: string): HTMLElement => only(`[data-testid="theta-branch-row"][data-name="${name}"]`);
const main = (name: string): HTMLElement => only('[data-main]', row(name));
const names = (): string[] => screen.queryAllByTestId('theta-branch-row').map(({ dataset }) => dataset['name'] ?? '');

describe('branches', () => {
  it('stand in groups, here and remote; the section counts those here', async () => {
    await showBranches([here, remote('origin/main'), branch('rte')]);
    const groups = within(screen.getByTestId('theta-section-branches')).getAllByRole('group');
    expect(
      groups.map(group => [group.getAttribute('aria-label'), texts('.theta-path > span:first-child', group)])
    ).toEqual([
      ['Here', ['main', 'rte']],
      ['Remote', ['origin/main']]
    ]);
    expect(screen.getByRole('button', { name: 'Branches 2' })).toBeDefined();
  });

  it('mark the current one, which can be neither left for itself nor merged nor deleted', async () => {
    const { user, backend } = await showBranches([branch('rte'), here]);
    expect(main('main').getAttribute('aria-current')).toBe('true');
    expect(main('rte').getAttribute('aria-current')).toBeNull();
    expect(tools(row('main'))).toEqual([]);
    await user.click(main('main'));
    expect(backend.changes).toEqual([]);
  });

  it('are switched to by a click, a key or their tool', async () => {
    const { user, backend } = await showBranches([here, branch('rte')]);
    await user.click(main('rte'));
    await user.keyboard('{Enter}');
    await user.click(screen.getByRole('button', { name: 'Switch to rte' }));
    expect(backend.of('switch').map(({ told }) => told)).toEqual(Array(3).fill({ branch: 'rte' }));
  });

  it.each([
    ['origin/rte', 'rte', ['origin']],
    ['origin/rte/two', 'rte/two', ['origin']],
    ['team/x/rte', 'rte', ['origin', 'team/x']],
    ['team/x/rte', 'rte', ['team', 'team/x']],
    ['team/y/rte', 'y/rte', ['team', 'team/x']],
    ['gone/rte', 'rte', []]
  ])('of remotes are switched to without the name of the remote: %s is %s', async (name, target, remotes) => {
    const { user, backend } = await showBranches([here, remote(name)], { remotes });
    await user.click(screen.getByRole('button', { name: `Switch to ${target}` }));
    expect(backend.last('switch').told).toEqual({ branch: target });
    await user.click(main(name));
    expect(backend.last('switch').told).toEqual({ branch: target });
  });

  it('have tools, but what a remote has is not deleted', async () => {
    await showBranches([here, branch('rte'), remote('origin/rte')], { remotes: ['origin'] });
    expect(tools(row('rte'))).toEqual(['Switch to rte', 'Merge rte into main', 'Delete rte']);
    expect(tools(row('origin/rte'))).toEqual(['Switch to rte', 'Merge origin/rte into main']);
  });

  it('are merged as a strategy has it', async () => {
    const { user, backend, actions } = await showBranches([here, remote('origin/rte')], { remotes: ['origin'] });
    await user.click(screen.getByRole('button', { name: 'Merge origin/rte into main' }));
    expect(actions.askStrategy).toHaveBeenCalledExactlyOnceWith('origin/rte');
    expect(backend.last('merge').told).toEqual({ branch: 'origin/rte', strategy: 'average', parameters: {} });
  });

  it('are not merged during a merge', async () => {
    const { user, actions } = await showBranches([here, branch('rte')], { merge: merging() });
    const tool = screen.getByRole('button', { name: 'Merge rte into main' });
    expect(tool).toHaveProperty('disabled', true);
    await user.click(tool);
    expect(actions.askStrategy).not.toHaveBeenCalled();
  });

  it('are not merged while something else is done', async () => {
    const { user, backend } = await showBranches([here, branch('rte')]);
    const tool = screen.getByRole('button', { name: 'Merge rte into main' });
    expect(tool).toHaveProperty('disabled', false);
    backend.hold('switch');
    await user.click(main('rte'));
    expect(tool).toHaveProperty('disabled', true);
    expect(screen.getByTestId('theta-new-branch')).toHaveProperty('disabled', true);
  });

  it('are deleted', async () => {
    const { user, backend, actions } = await showBranches([here, branch('rte')]);
    await user.click(screen.getByRole('button', { name: 'Delete rte' }));
    expect(actions.confirm).toHaveBeenCalledTimes(1);
    expect(backend.last('delete_branch').told).toEqual({ name: 'rte' });
  });

  it('are made', async () => {
    const { user, backend } = await showBranches([here]);
    await user.click(screen.getByRole('button', { name: 'New branch…' }));
    expect(backend.last('create_branch').told).toEqual({ name: 'idea', start: '' });
  });

  it('are fetched, where there is a remote', async () => {
    const { user, backend, world, session } = await showBranches([here]);
    expect(screen.queryByRole('button', { name: 'Fetch' })).toBeNull();
    world.status = status({ remotes: ['origin'] });
    await session.refresh();
    await user.click(await screen.findByRole('button', { name: 'Fetch' }));
    expect(backend.of('fetch')).toHaveLength(1);
  });

  it('tell how far they are from what they follow, if they are', async () => {
    const upstream = { name: 'origin/rte', ahead: 2, behind: 1 };
    await showBranches([
      branch('rte', { upstream }),
      branch('same', { upstream: { ...upstream, ahead: 0, behind: 0 } })
    ]);
    expect(texts('.theta-line-note', row('rte'))[0]).toMatch(/^↑2 ↓1 /u);
    expect(texts('.theta-line-note', row('same'))[0]).not.toContain('↑');
  });

  it('are gone through by arrow keys, from those here to those of remotes', async () => {
    const { user } = await showBranches([here, remote('origin/main'), branch('rte')]);
    main('main').focus();
    await user.keyboard('{ArrowDown}');
    expect(document.activeElement).toBe(main('rte'));
    await user.keyboard('{ArrowDown}');
    expect(document.activeElement).toBe(main('origin/main'));
    await user.keyboard('{ArrowDown}');
    expect(document.activeElement).toBe(main('origin/main'));
  });
});

describe('the filter of branches', () => {
  const ten = Array.from({ length: 10 }, (_, index) => branch(`run-${index}`));

  it('is not needed for ten', async () => {
    await showBranches(ten);
    expect(names()).toHaveLength(10);
    expect(screen.queryByLabelText('Filter branches')).toBeNull();
  });

  it('keeps names that have the text, in capitals or not', async () => {
    const { user } = await showBranches([...ten, branch('RTE-best'), remote('origin/rte')]);
    await user.type(screen.getByLabelText('Filter branches'), 'rTe');
    expect(names()).toEqual(['RTE-best', 'origin/rte']);
    await user.clear(screen.getByLabelText('Filter branches'));
    expect(names()).toHaveLength(12);
  });

  it('leaves out headings of groups that it empties', async () => {
    const { user } = await showBranches([...ten, remote('origin/rte')]);
    const headings = (): string[] => texts('[data-testid="theta-section-branches"] h4');
    expect(headings()).toEqual(['Here', 'Remote']);
    await user.type(screen.getByLabelText('Filter branches'), 'rte');
    expect(headings()).toEqual([]);
  });

  it('does not take arrow keys for the rows', async () => {
    const { user } = await showBranches([...ten, here]);
    await user.type(screen.getByLabelText('Filter branches'), 'run{ArrowDown}{Home}');
    expect(document.activeElement).toBe(screen.getByLabelText('Filter branches'));
  });
});
