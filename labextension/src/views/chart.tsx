/**
 * A chart that can be worked with keys: it takes the focus, and says aloud where its cursor is.
 */
import type { KeyboardEvent, ReactElement, ReactNode } from 'react';

interface Props {
  testId: string;
  /** What it shows, and which keys it knows. */
  label: string;
  /** What the cursor is on; empty if the chart has no focus. */
  spoken: string;
  onFocus: (isFocused: boolean) => void;
  /** Says whether the key was for it. */
  onKey: (event: KeyboardEvent) => boolean;
  children: ReactNode;
}

export function Chart({ testId, label, spoken, onFocus, onKey, children }: Props): ReactElement {
  const onKeyDown = (event: KeyboardEvent): void => {
    if (onKey(event)) {
      event.preventDefault();
      event.stopPropagation();
    }
  };
  return (
    /* eslint-disable jsx-a11y/no-noninteractive-element-interactions, jsx-a11y/no-noninteractive-tabindex --
       an application is what ARIA calls something that works its keys itself */
    <div
      className="theta-chart"
      data-testid={testId}
      role="application"
      tabIndex={0}
      aria-label={label}
      onKeyDown={onKeyDown}
      onFocus={event => onFocus(event.currentTarget.matches(':focus-visible'))}
      onBlur={() => onFocus(false)}
    >
      {children}
      <div className="theta-unseen" aria-live="polite">
        {spoken}
      </div>
    </div>
  );
}
