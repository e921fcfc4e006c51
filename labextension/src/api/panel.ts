/**
 * What is said between the panel and the server.
 *
 * Written by `python -m theta_jupyter.jupyter.contract` from the Python types: change those. Names, paths
 * and messages come from repositories that strangers made: they are shown as text, never as HTML.
 */

/** A branch: here, or as a remote had it. */
export interface Branch {
  name: string;
  remote: boolean;
  current: boolean;
  commit: string;
  subject: string;
  date: string;
  upstream: Upstream | null;
}

/** Branches, the ones worked on last first; and remotes. */
export interface Branches {
  branches: Branch[];
  remotes: string[];
}

/** A model that is not as in HEAD, or a checkpoint that is not tracked. */
export interface Change {
  path: string;
  /** As Git has it: M, A, D; U in conflict, ? not tracked, ! its weights are not here. */
  letter: 'M' | 'A' | 'D' | 'U' | '?' | '!';
  state: 'conflict' | 'staged' | 'changed' | 'new' | 'deleted' | 'manifest' | 'untracked';
  /** Whether all of the change is in the index. */
  staged: boolean;
  /** The change in one line, for people. */
  summary: string;
  /** How many it has, and how many of them differ from HEAD. */
  tensors: number;
  /** How many it has, and how many of them differ from HEAD. */
  changed: number;
  /** The change as a whole over the old norm, and whether that comes from sketches. */
  relative: number | null;
  /** The change as a whole over the old norm, and whether that comes from sketches. */
  estimated: boolean;
  /** Bytes a commit would store for it, and bytes of the file. */
  stores: number;
  /** Bytes a commit would store for it, and bytes of the file. */
  size: number;
  /** The change by block; None where there is none to be drawn. */
  miniature: Miniature | null;
}

export type ChangeState = 'conflict' | 'staged' | 'changed' | 'new' | 'deleted' | 'manifest' | 'untracked';

/** A commit in the history. */
export interface Commit {
  id: string;
  subject: string;
  body: string;
  author: string;
  /** When it was written, ISO 8601. */
  date: string;
  /** Ids, the first one first. */
  parents: string[];
  refs: Ref[];
  /** Checkpoints it changed. */
  models: string[];
  miniatures: Miniature[];
  /** Bytes of the objects it brought. */
  stored: number;
  derived_from: string[];
  /** The rules of the plan by which it was merged. */
  merged_by: string[];
}

/** A model in conflict: how many tensors did not settle, and how many of them nobody has decided yet. */
export interface Conflict {
  path: string;
  conflicts: number;
  left: number;
}

/** What came of something. */
export interface Done {
  message: string;
  details: string[];
}

/** The repository around a folder or a file. */
export interface Found {
  /** Its path from the server's root, empty for the root itself; None if there is none that may be shown. */
  repository: string | null;
  /** What to call it. */
  name: string;
  /** Whether Theta is set up in it. */
  ready: boolean;
  /** Why there is none, for people; empty for "there is just none". */
  reason: string;
}

/** The merge, rebase, cherry-pick, revert or stash that stopped. */
export interface InProgress {
  kind: 'merge' | 'rebase' | 'cherry-pick' | 'revert' | 'stash';
  /** What is going on, for people. */
  title: string;
  /** What the sides are called. */
  ours: string;
  /** What the sides are called. */
  theirs: string;
  files: Conflict[];
  /** Files in conflict that are no models. */
  others: string[];
  /** Greater with every choice. */
  revision: number;
}

/** How much each block of a model changed. */
export interface Miniature {
  path: string;
  blocks: string[];
  /**
   * For each block: a relative change, 0 if there is none, None if it is not known; or `+` tensors came, `-` went, `±`
   * have another shape.
   */
  values: (number | string | null)[];
  /** All of it in words, to be read aloud or shown when pointed at. */
  text: string;
}

/** A tracked model in one version. */
export interface Model {
  path: string;
  /** A commit; empty for the work tree. */
  ref: string;
  format: string;
  /** Whether no format knows it, so that it is kept whole. */
  opaque: boolean;
  /** Bytes of the file, and of all objects it needs. */
  size: number;
  /** Bytes of the file, and of all objects it needs. */
  stored: number;
  tensors: ModelTensor[];
  /** That changed it on the way to this version, the newest first: those of other branches are not among them. */
  commits: Commit[];
  /** Python that loads it. */
  code: string;
}

/** A tensor of a tracked model; norm, mean and largest magnitude are of its finite values. */
export interface ModelTensor {
  name: string;
  dtype: string;
  shape: number[];
  norm: number | null;
  mean: number | null;
  largest: number | null;
  not_finite: number;
  update: string;
  stored: number;
}

/** Commits, children before parents, and whether there are older ones; and HEAD's, empty if there is none. */
export interface Page {
  commits: Commit[];
  more: boolean;
  head: string;
}

/** Whether anything happened: keys that change with index, refs, choices and files, and with a merge alone. */
export interface Pulse {
  key: string;
  merge: string;
}

/** A name of a commit. */
export interface Ref {
  name: string;
  kind: 'branch' | 'remote' | 'tag';
  current: boolean;
}

/** Where a repository stands. */
export interface Status {
  /** Of the pulse at which this was true. */
  key: string;
  /** The branch; or a short commit id, if HEAD is detached. */
  branch: string;
  /** The branch; or a short commit id, if HEAD is detached. */
  detached: boolean;
  /** Whether there is any yet. */
  commits: boolean;
  /** Whether Git calls us here. */
  ready: boolean;
  /** Whether Git knows in whose name to commit. */
  identity: boolean;
  upstream: Upstream | null;
  remotes: string[];
  changes: Change[];
  /** Other files in the index that a commit would take along. */
  also_staged: string[];
  /** Bytes a commit of all changed models would store, and what their files have. */
  stores: number;
  /** Bytes a commit of all changed models would store, and what their files have. */
  size: number;
  merge: InProgress | null;
}

/** The branch of a remote that a branch follows, and by how many commits each is ahead of the other. */
export interface Upstream {
  name: string;
  ahead: number;
  behind: number;
}

/** What a panel can ask about a repository, and have done in it. */
export interface PanelQuestions {
  /** Ask whether anything has happened. */
  pulse(told: Record<string, never>): Pulse;
  /** Ask where the repository stands. Models that were changed are stored to find out, which can take a while. */
  status(told: Record<string, never>): Status;
  /** Ask for commits of all branches and tags; of one model, for those that changed it. */
  history(told: { skip?: number; limit?: number; path?: string }): Page;
  /** Ask for branches and remotes. */
  branches(told: Record<string, never>): Branches;
  /** Look at a model: its tensors, as far as its manifest tells, and the commits that made it what it is. */
  model(told: { path: string; ref?: string }): Model;
  /** Say in whose name to commit, in this repository. */
  identify(told: { name: string; email: string }): Done;
  /** Track models. */
  track(told: { paths: string[] }): Done;
  /** Stop tracking models. */
  untrack(told: { paths: string[] }): Done;
  /** Put models into the index. */
  stage(told: { paths: string[] }): Done;
  /** Take models out of the index; the files stay as they are. */
  unstage(told: { paths: string[] }): Done;
  /** Put files back to what HEAD has, also in the index. */
  discard(told: { paths: string[] }): Done;
  /** Commit what is staged; if no model is, all models that were changed. */
  commit(told: { message: string }): Done;
  /** Switch to a branch; one that only a remote has is made here, and follows it. */
  switch(told: { branch: string }): Done;
  /** Make a branch, from a commit or from here. */
  create_branch(told: { name: string; start?: string; switch?: boolean }): Done;
  /** Delete a branch; one with commits that are nowhere else only by force. */
  delete_branch(told: { name: string; force?: boolean }): Done;
  /** Check out a model as it is in a commit; HEAD stays where it is. */
  restore(told: { ref: string; path: string }): Done;
  /** Merge a branch into the current one; a strategy decides what does not settle by itself. */
  merge(told: { branch: string; strategy?: string; parameters?: Record<string, unknown> | null }): Done;
  /** Push the current branch, with its objects; for the first time to the first remote there is. */
  push(told: Record<string, never>): Done;
  /** Pull: merge what the remote has into the current branch. */
  pull(told: Record<string, never>): Done;
  /** Fetch commits from the remote of the branch, and the weights of HEAD and of its upstream. */
  fetch(told: Record<string, never>): Done;
}
