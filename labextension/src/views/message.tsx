/** What went wrong, and what to do about it. */
import type { ReactElement } from 'react';

import { plain, plainLines } from './format';
import type { Failure } from './store';

export function Message({ message, hint }: Failure): ReactElement {
  return (
    <div className="theta-message" role="alert">
      <div>{plainLines(message)}</div>
      {hint && <div className="theta-hint">{plain(hint)}</div>}
    </div>
  );
}
