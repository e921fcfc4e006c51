/** Small pictures, in the colour of the text around them: sixteen pixels, lines of one and a half. */
import type { ReactElement } from 'react';

const PATHS = {
  down: 'M4 6l4 4 4-4',
  right: 'M6 4l4 4-4 4',
  refresh: 'M13 8a5 5 0 1 1-1.5-3.5M13 2v3h-3',
  push: 'M8 13V5M4.5 8L8 4.5 11.5 8M3.5 2.5h9',
  pull: 'M8 3v8M4.5 8L8 11.5 11.5 8M3.5 13.5h9',
  fetch: 'M8 2.5v3M8 7v2M8 10.5v0M4.5 9L8 12.5 11.5 9',
  plus: 'M8 3.5v9M3.5 8h9',
  minus: 'M3.5 8h9',
  undo: 'M3 6.5h7a3 3 0 0 1 0 6H7M3 6.5l3-3M3 6.5l3 3',
  diff: 'M8 2.5v5M5.5 5h5M5.5 11h5M3 13.5h10',
  track: 'M8 2v12M3 8h10',
  switch: 'M3 5h8M8.5 2.5L11 5 8.5 7.5M13 11H5M7.5 8.5L5 11l2.5 2.5',
  merge: 'M5 13V3M5 4.5c0 4 2 5.5 6 5.5M11 10l-2-2M11 10l-2 2',
  trash: 'M3.5 4.5h9M6.5 4V2.5h3V4M5 4.5l.5 9h5l.5-9',
  cross: 'M4 4l8 8M12 4l-8 8',
  branch: 'M5 3v10M5 9c0-2.5 6-1 6-5M11 4V3'
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): ReactElement {
  return (
    <svg className="theta-icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
