/**
 * What the panel asks of whoever shows it: tabs, dialogs, words in the user's language.
 *
 * The views know nothing of JupyterLab. Tests give them actions that only take notes.
 */
import { createContext, useContext, useMemo } from 'react';

import type { Values } from '../../api/merge';

/** Two versions to compare; an empty `new` is the work tree, `:` the index, and a commit is its id. */
export interface Compared {
  old: string;
  new: string;
  /** One model; all of them without. */
  path?: string;
}

export interface Actions {
  openDiff(of: Compared): void;
  /** The resolver of the merge in progress, at a file. */
  openMerge(path?: string): void;
  /** A tracked model, in a commit or in the work tree. */
  openModel(path: string, ref?: string): void;
  confirm(told: { title: string; body: string; accept: string; isDanger?: boolean }): Promise<boolean>;
  /** Ask for a line of text; null if nothing was said. */
  ask(told: { title: string; label: string; accept: string; value?: string }): Promise<string | null>;
  /** Ask in whose name to commit. */
  askIdentity(): Promise<{ name: string; email: string } | null>;
  /** Ask how to merge a branch; an empty strategy leaves conflicts to the resolver. */
  askStrategy(branch: string): Promise<{ strategy: string; parameters: Values } | null>;
  notify(message: string, kind?: 'success' | 'info' | 'error'): void;
  /** Put Python into the active notebook; false where there is none. */
  insertCode(code: string): boolean;
  copy(text: string): void;
}

/** Words in the user's language: what JupyterLab's `TranslationBundle` offers, as far as the views use it. */
export interface Words {
  /** A text; `%1`, `%2` … stand for the values. */
  __: (text: string, ...values: (string | number)[]) => string;
  /** One or many; `%1` is the number. */
  _n: (one: string, many: string, count: number, ...values: (string | number)[]) => string;
}

/** English, as it stands in the source. */
export const english: Words = {
  __: (text, ...values) => text.replace(/%(\d)/g, (_, place) => String(values[Number(place) - 1] ?? '')),
  _n: (one, many, count, ...values) => english.__(count === 1 ? one : many, count, ...values)
};

/** The same, to be taken apart: JupyterLab's are methods, and want to know whose. */
export function loose(words: Words): Words {
  return {
    __: (text, ...values) => words.__(text, ...values),
    _n: (one, many, count, ...values) => words._n(one, many, count, ...values)
  };
}

export const WordsContext = createContext<Words>(english);

export function useWords(): Words {
  const words = useContext(WordsContext);
  return useMemo(() => loose(words), [words]);
}
