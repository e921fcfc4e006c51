/** When something was, for people. */
import type { Words } from './actions';

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How long ago, in a word: a list of commits has no room for more. */
export function ago(date: string, { __ }: Words, now = Date.now()): string {
  const seconds = (now - Date.parse(date)) / 1000;
  if (!Number.isFinite(seconds)) {
    return '';
  }
  if (seconds < MINUTE) {
    return __('now');
  }
  if (seconds < HOUR) {
    return __('%1 min', Math.floor(seconds / MINUTE));
  }
  if (seconds < DAY) {
    return __('%1 h', Math.floor(seconds / HOUR));
  }
  if (seconds < 30 * DAY) {
    return __('%1 d', Math.floor(seconds / DAY));
  }
  return new Date(date).toLocaleDateString();
}

/** All of it. */
export function whole(date: string): string {
  const found = new Date(date);
  return Number.isNaN(found.getTime()) ? date : found.toLocaleString();
}
