/**
 * What stands around every view: the theme, what went wrong, and a fence for keys.
 */
import { useRef, type KeyboardEvent, type ReactElement, type ReactNode } from 'react';

import { Message } from './message';
import type { Failure } from './store';
import { ThemeContext, useThemeOf } from './theme';

interface Props {
  testId: string;
  /** Whether all is there that the view starts with. */
  isDone: boolean;
  failure: Failure | null;
  onKeyDown?: (event: KeyboardEvent) => void;
  children: ReactNode;
}

export function Frame({ testId, isDone, failure, onKeyDown, children }: Props): ReactElement {
  const ref = useRef<HTMLDivElement>(null);
  const theme = useThemeOf(ref);
  return (
    // eslint-disable-next-line jsx-a11y/no-static-element-interactions -- it only keeps keys from going further
    <div
      ref={ref}
      className="theta-root"
      data-testid={testId}
      data-ready={isDone && theme !== null}
      onKeyDown={event => {
        onKeyDown?.(event);
        keepKeys(event);
      }}
    >
      {theme && (
        <ThemeContext.Provider value={theme}>
          {failure && <Message {...failure} />}
          {children}
          {!isDone && !failure && (
            <p className="theta-hint theta-waiting" role="status">
              Loading…
            </p>
          )}
        </ThemeContext.Provider>
      )}
    </div>
  );
}

/** A key without a modifier is ours: the notebook around us would take `x` for "cut this cell". */
function keepKeys(event: KeyboardEvent): void {
  if (!event.ctrlKey && !event.metaKey && !event.altKey) {
    event.stopPropagation();
  }
}
