/**
 * What is said between the view of a merge and who answers it, as plain JSON; see `types.ts`.
 */
import type { Nothing } from './backend';
import type { Fact, TitledFigure } from './types';

/** What can be asked about a merge in progress. All but the first five change it. */
export interface MergeQuestions {
  merge(told: Nothing): MergeState;
  strategies(told: Nothing): Strategy[];
  /** The conflicts of a file, decided or not. */
  file(told: { path: string }): { rows: Row[] };
  /** What has settled itself. */
  settled(told: { path: string }): { rows: Row[] };
  /** One tensor as a strategy would have it; without one, only its versions. */
  preview(told: { path: string; name: string; strategy: string; parameters: Values }): Preview;
  /** Add rules, to be undone as one: the last one that matches a tensor wins. */
  choose(told: { rules: Rule[] }): Choice;
  /** Change a rule, or remove it. */
  edit(told: { index: number; rule: Rule | null }): Choice;
  /** Take the last change of the rules back. */
  undo(told: Nothing): Choice;
  /** Write the result, and commit it where Git would. */
  finish(told: { message: string }): MergeState;
  abort(told: Nothing): MergeState;
}

/** Values of parameters, by name. */
export type Values = Record<string, unknown>;

/** One side of a merge. */
export interface Version {
  /** A branch, or a short id. */
  name: string;
  subject: string;
  commit: string;
}

export interface Parameter {
  name: string;
  kind: 'number' | 'whole' | 'flag' | 'choice' | 'weights' | 'checkpoints';
  /** Null if it must be given. */
  default: unknown;
  help: string;
  low: number | null;
  high: number | null;
  choices: string[];
}

export interface Strategy {
  name: string;
  summary: string;
  parameters: Parameter[];
  base: 'no' | 'use' | 'needs';
  /** Whether it takes just two models. */
  pairs: boolean;
  /** Which version it simply takes. */
  takes: '' | 'ours' | 'theirs' | 'base';
}

/** How to merge the tensors that match. */
export interface Rule {
  /** A glob as Python's fnmatch reads it. */
  tensors: string;
  /** A glob of paths; empty for every file. */
  file: string;
  strategy: string;
  parameters: Values;
}

/** What happened to a tensor. The last four are conflicts. */
export type Class =
  | 'unchanged'
  | 'ours only'
  | 'theirs only'
  | 'same on both'
  | 'both changed'
  | 'added by both'
  | 'deleted and changed'
  | 'reshaped';

export interface MergeFile {
  path: string;
  conflicts: number;
  /** Conflicts still undecided. */
  left: number;
  settled: Partial<Record<Class, number>>;
  /** Whether nothing in it can be mixed: one side's file is taken, or the other's. */
  whole: boolean;
  notes: string[];
}

export interface MergeState {
  /** Greater with every change. */
  revision: number;
  /** Empty where nothing is in progress, or no longer. */
  kind: 'merge' | 'rebase' | 'cherry-pick' | 'revert' | 'stash' | '';
  title: string;
  ours: Version;
  theirs: Version;
  base: Version | null;
  /** What the commit would say; empty where none is asked for. */
  message: string;
  files: MergeFile[];
  /** Paths in conflict that hold no model. */
  others: string[];
  rules: Rule[];
  can_undo: boolean;
  left: number;
  /** What has come of it, once it is finished or aborted. */
  outcome: string;
}

/** One tensor of a merge; or the structure of the file, as if it were one. */
export interface Row {
  name: string;
  /** Matches this tensor and no other. */
  glob: string;
  class: Class;
  dtype: string;
  shape: number[];
  /** These two where they differ. */
  ours_shape: number[] | null;
  theirs_shape: number[] | null;
  /** How far each side is from the base, relative to that. */
  ours: number | null;
  theirs: number | null;
  /** Between the two changes, in degrees. */
  angle: number | null;
  /** The share of values on whose direction both agree. */
  signs: number | null;
  /** Whether these four come from sketches. */
  estimated: boolean;
  /** Empty while undecided. */
  strategy: string;
  parameters: Values;
  /** Which rule decided it. */
  rule: number | null;
  /** Why a strategy does not apply to it, by strategy. */
  refusals: Record<string, string>;
  remark: string;
}

export interface Preview {
  /** As measured. */
  row: Row;
  facts: Fact[];
  /** Columns that start with ">" hold numbers. */
  table: { columns: string[]; rows: string[][] };
  figures: TitledFigure[];
  remarks: string[];
}

/** What a change of the rules has done: the rows that are not as they were. */
export interface Choice {
  state: MergeState;
  rows: { path: string; rows: Row[] }[];
}
