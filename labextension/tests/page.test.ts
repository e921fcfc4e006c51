import { afterEach, expect, it } from 'vitest';

import { announce, hear, type Topic } from '../src/api/page';

const ends: (() => void)[] = [];

/** What somebody hears, from now on. */
function listener(me: object = {}): { heard: Topic[]; end: () => void } {
  const heard: Topic[] = [];
  const end = hear(me, topic => heard.push(topic));
  ends.push(end);
  return { heard, end };
}

afterEach(() => ends.splice(0).forEach(end => end()));

it('tells everybody on the page, in order', () => {
  const [one, two] = [listener(), listener()];
  announce('merge', {});
  announce('repository', {});
  expect([one.heard, two.heard]).toEqual([
    ['merge', 'repository'],
    ['merge', 'repository']
  ]);
});

it('does not tell the one who says it', () => {
  const me = {};
  const [mine, other] = [listener(me), listener()];
  announce('merge', me);
  expect([mine.heard, other.heard]).toEqual([[], ['merge']]);
});

it('tells nobody who has stopped listening', () => {
  const [gone, still] = [listener(), listener()];
  gone.end();
  announce('merge', {});
  expect([gone.heard, still.heard]).toEqual([[], ['merge']]);
});
