/**
 * What views on one page tell each other: that something was changed, by whoever changed it.
 *
 * A notebook's widget asks a kernel, the panel asks the server, and both look at the same merge. Neither server hears of
 * the other, but the page does.
 */
const EVENT = 'theta-jupyter:changed';

/** What has changed: choices of a merge, or anything else in a repository. */
export type Topic = 'merge' | 'repository';

/** Tell everybody on the page, but for the one who says it. */
export function announce(topic: Topic, from: object): void {
  document.dispatchEvent(new CustomEvent(EVENT, { detail: { topic, from } }));
}

/** Hear of it; the function returned ends that. */
export function hear(me: object, heard: (topic: Topic) => void): () => void {
  const onEvent = (event: Event): void => {
    const { topic, from } = (event as CustomEvent<{ topic: Topic; from: object }>).detail;
    if (from !== me) {
      heard(topic);
    }
  };
  document.addEventListener(EVENT, onEvent);
  return () => document.removeEventListener(EVENT, onEvent);
}
