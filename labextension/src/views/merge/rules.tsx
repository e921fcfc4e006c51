/**
 * The rules made so far, as they will be kept with the commit: the last one that matches a tensor wins.
 */
import { useEffect, useRef, useState, type KeyboardEvent, type ReactElement } from 'react';

import type { MergeState, Rule } from '../../api/merge';
import { plain } from '../format';
import type { MergeSession } from './session';
import { callText, plural } from './words';

interface Props {
  merge: MergeState;
  /** How many conflicts of the file shown each rule decides. */
  counts: ReadonlyMap<number, number>;
  session: MergeSession;
}

export function Rules({ merge: { rules, files }, counts, session }: Props): ReactElement | null {
  const list = useRef<HTMLOListElement>(null);
  // The newest is in sight.
  useEffect(() => {
    list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [rules.length]);
  return rules.length ? (
    <section className="theta-rules" data-testid="theta-rules" aria-label="Rules">
      <h3>
        {plural(rules.length, 'rule')} <span className="theta-hint">the last one that matches a tensor wins</span>
      </h3>
      <ol ref={list}>
        {rules.map((rule, index) => (
          <li key={index} data-rule={index}>
            <Editable
              label={`Tensors of rule ${index + 1}`}
              value={rule.tensors}
              onChange={tensors => void session.edit(index, { ...rule, tensors })}
            />
            {(files.length > 1 || rule.file) && <FileGlob rule={rule} index={index} session={session} />}
            <span aria-label="is merged by">→</span>
            <code>{plain(callText(rule))}</code>
            <span className="theta-hint">{decides(counts.get(index) ?? 0, files.length > 1)}</span>
            <button
              type="button"
              className="theta-link"
              title="Remove this rule"
              aria-label={`Remove rule ${index + 1}`}
              onClick={() => void session.edit(index, null)}
            >
              remove
            </button>
          </li>
        ))}
      </ol>
    </section>
  ) : null;
}

function decides(count: number, isOneOfMany: boolean): string {
  return count ? `decides ${count}${isOneOfMany ? ' here' : ''}` : isOneOfMany ? '' : 'decides none';
}

function FileGlob({ rule, index, session }: { rule: Rule; index: number; session: MergeSession }): ReactElement {
  return (
    <>
      <span className="theta-hint">in</span>
      <Editable
        label={`Files of rule ${index + 1}`}
        value={rule.file}
        placeholder="every file"
        onChange={file => void session.edit(index, { ...rule, file })}
      />
    </>
  );
}

interface EditableProps {
  label: string;
  value: string;
  placeholder?: string;
  onChange: (value: string) => void;
}

/** A text that can be changed where it stands: Enter or leaving it keeps it, Escape does not. */
function Editable({ label, value, placeholder = '', onChange }: EditableProps): ReactElement {
  const [text, setText] = useState<string | null>(null);
  const keep = (): void => {
    if (text !== null && text !== value && (text || placeholder)) {
      onChange(text);
    }
    setText(null);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.key === 'Enter') {
      keep();
    } else if (event.key === 'Escape') {
      setText(null);
      event.stopPropagation();
    }
  };
  const shown = text ?? value;
  return (
    <input
      type="text"
      className="theta-code theta-quiet"
      aria-label={label}
      title="Click to change"
      spellCheck={false}
      placeholder={placeholder}
      value={shown}
      style={{ width: `calc(${Math.max(4, (shown === '' ? placeholder : shown).length)}ch + 18px)` }}
      onChange={event => setText(event.target.value)}
      onBlur={keep}
      onKeyDown={onKeyDown}
    />
  );
}
