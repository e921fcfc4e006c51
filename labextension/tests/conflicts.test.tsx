import { screen } from '@testing-library/react';
import { describe, expect, it } from 'vitest';

import type { InProgress } from '../src/api/panel';
import { merging, status } from './fakes';
import { show, texts, type Shown } from './show';

function showMerge(part: Partial<InProgress> = {}): Promise<Shown> {
  return show({ status: status({ merge: merging(part) }) });
}

const decided = { files: [{ path: 'models/a.pt', conflicts: 38, left: 0 }] };
const next = (): HTMLElement => screen.getByTestId('theta-continue');

describe('conflicts', () => {
  it('have no section while there are none', async () => {
    await show();
    expect(screen.queryByTestId('theta-section-conflicts')).toBeNull();
  });

  it('say what is going on, and how much is left in each file', async () => {
    await showMerge({
      files: [
        { path: 'models/a.pt', conflicts: 38, left: 3 },
        { path: 'b.pt', conflicts: 2, left: 0 }
      ]
    });
    expect(screen.getByText('Merging rte into main')).toBeDefined();
    expect(texts('[data-testid="theta-conflict-row"]')).toEqual(['Ua.pt3 left of 38', 'Ub.ptall decided']);
    expect(screen.getByRole('button', { name: 'Conflicts 2' })).toBeDefined();
  });

  it('cannot be left behind while a tensor is to be decided', async () => {
    const { user, merges } = await showMerge({
      files: [
        { path: 'a.pt', conflicts: 38, left: 3 },
        { path: 'b.pt', conflicts: 2, left: 1 }
      ]
    });
    expect(next()).toHaveProperty('disabled', true);
    expect(next().title).toBe('4 tensors are still to be decided');
    await user.click(next());
    expect(merges.asked).toEqual([]);
  });

  it('count one tensor as one', async () => {
    await showMerge({ files: [{ path: 'a.pt', conflicts: 38, left: 1 }] });
    expect(next().title).toBe('1 tensor is still to be decided');
  });

  it('end by Continue once everything is decided', async () => {
    const { user, merges, actions } = await showMerge(decided);
    expect(next()).toHaveProperty('disabled', false);
    await user.click(next());
    expect(merges.last('finish').told).toEqual({ message: '' });
    expect(actions.notify).toHaveBeenCalledWith('merged', 'success');
  });

  it('wait for other files, and name them', async () => {
    await showMerge({ ...decided, others: ['train.py', 'notes.md'] });
    expect(next()).toHaveProperty('disabled', true);
    expect(texts('.theta-hint.theta-wrap')).toEqual(['Also in conflict; edit and stage with Git: train.py, notes.md']);
  });

  it('open the resolver, at a file or at none', async () => {
    const { user, actions } = await showMerge();
    await user.click(screen.getByText('a.safetensors'));
    await user.click(screen.getByRole('button', { name: 'Resolve' }));
    expect(actions.openMerge.mock.calls).toEqual([['models/a.safetensors'], []]);
  });

  it('can be looked at again once decided', async () => {
    await showMerge(decided);
    expect(screen.getByTestId('theta-resolve').textContent).toBe('Look again');
  });

  it('need no resolver if no model is among them', async () => {
    await showMerge({ files: [], others: ['train.py'] });
    expect(screen.queryByTestId('theta-resolve')).toBeNull();
    expect(next()).toHaveProperty('disabled', true);
  });

  it('are given up only by whoever is sure', async () => {
    const { user, merges, actions } = await showMerge();
    actions.confirm.mockResolvedValueOnce(false);
    await user.click(screen.getByRole('button', { name: 'Abort' }));
    expect(merges.asked).toEqual([]);
    await user.click(screen.getByRole('button', { name: 'Abort' }));
    expect(merges.of('abort')).toHaveLength(1);
  });

  it('are left alone while something else is done', async () => {
    const { user, backend } = await showMerge(decided);
    backend.hold('create_branch');
    await user.click(screen.getByTestId('theta-new-branch'));
    expect(next()).toHaveProperty('disabled', true);
    expect(screen.getByTestId('theta-abort')).toHaveProperty('disabled', true);
  });

  it('are gone through by arrow keys', async () => {
    const { user, actions } = await showMerge({
      files: ['a.pt', 'b.pt'].map(path => ({ path, conflicts: 1, left: 1 }))
    });
    screen.getByTitle('a.pt').focus();
    await user.keyboard('{ArrowDown}{Enter}');
    expect(actions.openMerge).toHaveBeenCalledExactlyOnceWith('b.pt');
  });
});
