/**
 * What the panel is built of: sections that open and close, rows that are gone through with arrow keys, small buttons.
 */
import { useState, type KeyboardEvent, type ReactElement, type ReactNode } from 'react';

import { plain } from '../format';
import { Icon, type IconName } from './icons';

interface SectionProps {
  id: string;
  title: string;
  /** How many things there are in it. */
  count?: number;
  isOpen: boolean;
  onOpen: (isOpen: boolean) => void;
  /** Beside the title. */
  actions?: ReactNode;
  children: ReactNode;
}

export function Section({ id, title, count, isOpen, onOpen, actions, children }: SectionProps): ReactElement {
  const body = `theta-body-${id}`;
  return (
    <section className="theta-section" data-testid={`theta-section-${id}`}>
      <div className="theta-section-head">
        <h3>
          <button type="button" aria-expanded={isOpen} aria-controls={body} onClick={() => onOpen(!isOpen)}>
            <Icon name={isOpen ? 'down' : 'right'} />
            {title}
            {/* With a space, or it is read out as one word. */}
            {count ? ' ' : null}
            {count ? <span className="theta-count">{count}</span> : null}
          </button>
        </h3>
        {isOpen && actions}
      </div>
      {isOpen && (
        <div id={body} className="theta-section-body">
          {children}
        </div>
      )}
    </section>
  );
}

interface ToolProps {
  icon: IconName;
  label: string;
  onClick: () => void;
  isDisabled?: boolean;
  /** Whether it is reached by Tab. */
  isReached?: boolean;
  testId?: string;
}

/** A button that is an icon; what it does is its name. */
export function Tool({
  icon,
  label: said,
  onClick,
  isDisabled = false,
  isReached = true,
  testId
}: ToolProps): ReactElement {
  // Names of files and branches are in it.
  const label = plain(said);
  return (
    <button
      type="button"
      className="theta-tool"
      title={label}
      aria-label={label}
      disabled={isDisabled}
      tabIndex={isReached ? 0 : -1}
      data-testid={testId}
      onClick={event => {
        event.stopPropagation();
        onClick();
      }}
    >
      <Icon name={icon} />
    </button>
  );
}

/** Which of many rows is reached by Tab; arrow keys go from one to the next. */
export interface Rows {
  at: number;
  /** For the element around the rows. */
  onKeyDown: (event: KeyboardEvent<HTMLElement>) => void;
  setAt: (index: number) => void;
}

/** Rows are elements with `data-row`, their place; whatever takes the focus in them has `data-main`. */
export function useRows(count: number, onFar?: (index: number) => void): Rows {
  const [chosen, setAt] = useState(0);
  const at = Math.max(0, Math.min(chosen, count - 1));
  const onKeyDown = (event: KeyboardEvent<HTMLElement>): void => {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -count, End: count }[event.key];
    if (step === undefined || (event.target as Element).closest('textarea, input, select')) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    const to = Math.max(0, Math.min(at + step, count - 1));
    const list = event.currentTarget;
    const focus = (): boolean => {
      const main = list.querySelector<HTMLElement>(`[data-row="${to}"] [data-main]`);
      main?.focus();
      return main !== null;
    };
    setAt(to);
    if (!focus() && onFar) {
      // It is not drawn yet.
      onFar(to);
      requestAnimationFrame(() => requestAnimationFrame(focus));
    }
  };
  return { at, onKeyDown, setAt };
}
