/**
 * A merge, as several views of one page look at it: whoever changes it tells the others, whichever way they ask.
 *
 * A notebook's widget asks its kernel, a tab asks the server, and neither of these hears of the other. What they show
 * lies in one place on disk, so its revision says whether there is anything new.
 */
import type { AskOptions, Backend, Happening } from './backend';
import type { MergeQuestions, MergeState } from './merge';
import { announce, hear } from './page';

export class OpenMerge implements Backend<MergeQuestions> {
  private known: Known = { merge: '', revision: -1 };

  constructor(private readonly backend: Backend<MergeQuestions>) {}

  async ask<Method extends keyof MergeQuestions>(
    method: Method,
    told: Parameters<MergeQuestions[Method]>[0],
    options?: AskOptions
  ): Promise<ReturnType<MergeQuestions[Method]>> {
    const answer = await this.backend.ask(method, told, options);
    this.known = knownFrom(answer) ?? this.known;
    if (CHANGING.includes(method)) {
      announce('merge', this);
    }
    if (ENDING.includes(method)) {
      announce('repository', this);
    }
    return answer;
  }

  listen(heard: (happening: Happening) => void): () => void {
    const ends = [
      this.backend.listen(happening => {
        heard(happening);
        // A cell of a notebook may have done it, of which nobody else on the page knows.
        if (happening.revision !== this.known.revision) {
          this.known = { ...this.known, revision: happening.revision };
          announce('merge', this);
        }
      }),
      hear(this, topic => {
        if (topic === 'merge') {
          void this.look(heard);
        }
      })
    ];
    return () => ends.forEach(end => end());
  }

  /** Ask where the merge stands, and pass on whether that is news. */
  private async look(heard: (happening: Happening) => void): Promise<void> {
    const last = this.known.merge;
    try {
      const { revision } = await this.ask('merge', {});
      // The next merge starts to count anew: whatever its number, it is not the one that is shown.
      heard({ event: 'changed', revision: this.known.merge === last ? revision : -1 });
    } catch {
      // Whoever is asked may be gone: then what is shown stays.
    }
  }
}

const ENDING: readonly string[] = ['finish', 'abort'];
const CHANGING: readonly string[] = ['choose', 'edit', 'undo', ...ENDING];

/** Which merge, and how many changes it has seen. */
interface Known {
  merge: string;
  revision: number;
}

/** What an answer says of the merge, if it does. */
function knownFrom(answer: object): Known | null {
  const { kind, revision, ours, theirs } = ('state' in answer ? answer.state : answer) as Partial<MergeState>;
  return revision === undefined ? null : { merge: [kind, ours?.commit, theirs?.commit].join(' '), revision };
}
