/** The whole panel, drawn for a test. */
import { render, screen, waitFor } from '@testing-library/react';
import userEvent, { type UserEvent } from '@testing-library/user-event';
import { expect, vi, type Mock } from 'vitest';

import { PanelView } from '../src/views/panel';
import { stage, type Stage, type World } from './fakes';

export interface Shown extends Stage {
  user: UserEvent;
  onInit: Mock<() => void>;
}

interface How {
  name?: string;
  clickAction?: 'diff' | 'model';
}

/** A panel that has seen everything, with all its sections open. */
export async function show(
  world: Partial<World> = {},
  { name = 'models', clickAction = 'diff' }: How = {}
): Promise<Shown> {
  const found = stage(world, { open: { branches: true } });
  const onInit = vi.fn<() => void>();
  const { session, actions } = found;
  render(<PanelView {...{ session, actions, name, clickAction, onInit }} />);
  await waitFor(() => expect(screen.getByTestId('theta-panel').dataset['ready']).toBe('true'));
  return { ...found, user: userEvent.setup(), onInit };
}

/** The only element that a selector finds. */
export function only(selector: string, within: ParentNode = document): HTMLElement {
  const found = within.querySelectorAll<HTMLElement>(selector);
  expect(found).toHaveLength(1);
  const [first] = found;
  if (first === undefined) {
    throw new Error('it is not drawn');
  }
  return first;
}

/** What there is to read in each element that a selector finds. */
export function texts(selector: string, within: ParentNode = document): string[] {
  return [...within.querySelectorAll(selector)].map(({ textContent }) => textContent.trim());
}

/** What assistive technology calls each button of an element. */
export function tools(within: ParentNode): string[] {
  return [...within.querySelectorAll('.theta-tool')].map(tool => tool.getAttribute('aria-label') ?? '');
}
