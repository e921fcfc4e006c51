/** What went wrong, and what to do about it. */
import type { ReactElement } from 'react';

import { plain } from './format';
import type { Failure } from './store';

export function Message({ message, hint }: Failure): ReactElement {
  return (
    <div className="theta-message" role="alert">
      <div>
        {message
          .split('\n')
          .map(line => plain(line.trim()))
          .join('\n')}
      </div>
      {hint && <div className="theta-hint">{plain(hint)}</div>}
    </div>
  );
}
