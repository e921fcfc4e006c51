/** What the panel is built of. */
import { render, screen } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { expect, it, vi } from 'vitest';

import { Tool } from '../src/views/panel/section';

it('a tool in something that can be clicked does its own thing, and nothing else', async () => {
  const [around, onClick] = [vi.fn(), vi.fn()];
  render(
    // eslint-disable-next-line jsx-a11y/click-events-have-key-events, jsx-a11y/no-static-element-interactions -- for the test
    <div onClick={around}>
      <Tool icon="cross" label="Dismiss" onClick={onClick} />
    </div>
  );
  const tool = screen.getByRole('button', { name: 'Dismiss' });
  await userEvent.click(tool);
  tool.focus();
  await userEvent.keyboard('{Enter}');
  expect(onClick).toHaveBeenCalledTimes(2);
  expect(around).not.toHaveBeenCalled();
});
