/** What went wrong, and what to do about it. */
import type { ReactElement } from 'react';

import { plain } from './format';
import type { Failure } from './store';

export function Message({ message, hint }: Failure): ReactElement {
  return (
    <div className="theta-message" role="alert">
      <div>{plain(message)}</div>
      {hint && <div className="theta-hint">{plain(hint)}</div>}
    </div>
  );
}
