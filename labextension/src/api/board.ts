/**
 * What is said between the scoreboard of a merge and who answers it, as plain JSON; see `types.ts`.
 */
import type { Nothing } from './backend';
import type { Figure } from './types';

/** What can be asked about plans that were tried. */
export interface BoardQuestions {
  board(told: Nothing): Board;
  /** Make a candidate the plan of the merge. */
  use(told: { index: number }): Board;
}

export interface Board {
  title: string;
  rows: Scored[];
  higher_is_better: boolean;
  figure: Figure | null;
  /** Whether a candidate can become the plan of a merge that is in progress. */
  can_use: boolean;
  used: number | null;
  note: string;
}

/** What was tried, and what came of it. */
export interface Scored {
  label: string;
  kind: 'candidate' | 'parent';
  score: number | null;
  /** Why there is no score. */
  failed: string;
  seconds: number | null;
  best: boolean;
  index: number;
}
