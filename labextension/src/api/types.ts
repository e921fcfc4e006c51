/**
 * What is said between the view of a diff and who answers it.
 *
 * Plain JSON. A number that JSON cannot hold (infinite, not a number) is null. Names come from files that strangers
 * made: they are shown as text, never as HTML.
 */
import type { Nothing } from './backend';

/** What can be asked about a diff. */
export interface DiffQuestions {
  /** What was compared, and which files differ. */
  diff(told: Nothing): Diff;
  /** One file: every tensor, as far as it is known without reading weights. */
  file(told: { path: string }): FileDiff;
  /** One tensor, exactly. */
  tensor(told: { path: string; name: string }): Detail;
  /** Exact numbers for these tensors. */
  measure(told: { path: string; names: string[] }): { tensors: Tensor[] };
  /** The pictures and the summary again, after measuring. */
  figures(told: { path: string }): Refreshed;
}

/** Unchanged, added, changed, deleted, renamed, reshaped, recast (another dtype). */
export type Status = '' | 'A' | 'M' | 'D' | 'R' | 'S' | 'T';

/** One tensor in two versions. */
export interface Tensor {
  name: string;
  status: Status;
  dtype: string;
  shape: number[];
  /** How many values it has. */
  size: number;
  /** These three where they differ; else empty or null. */
  old_name: string;
  old_shape: number[] | null;
  old_dtype: string;
  /** L2 norm of the old version, and of the difference. */
  norm: number | null;
  l2: number | null;
  /** `l2 / norm`. Null is "not known", or infinite if `norm` is 0 and `l2` is not. */
  relative: number | null;
  /** Whether `l2` comes from sketches. */
  estimated: boolean;
  /** These three are null until measured. `changed` is a share, from 0 to 1. */
  largest: number | null;
  cosine: number | null;
  changed: number | null;
  /** How many values of the new version are NaN or infinite; the other numbers are silent about these. */
  not_finite: number;
  /** How the new version is stored, empty if it is not; and the bytes that takes. */
  update: string;
  stored: number;
  /** Its cell in the heatmap. */
  row: string;
  column: string;
}

/** A Plotly figure made in Python; the colours of text, grid and background are the theme's. */
export interface Figure {
  data: object[];
  layout: object;
}

/** The summary of one checkpoint. */
export interface FileInfo {
  path: string;
  status: '' | 'A' | 'M' | 'D';
  /** What was compared. */
  old: string;
  new: string;
  /** Whether the file is kept whole, because no plug-in understood it. */
  opaque: boolean;
  /** The summary line, in parts. */
  facts: string[];
  notes: string[];
}

export interface Diff {
  old: string;
  new: string;
  subject: string;
  files: FileInfo[];
}

/** The pictures of a file as a whole; null where there is nothing to see. */
export interface Figures {
  heatmap: Figure | null;
  norms: Figure | null;
}

export interface FileDiff extends FileInfo, Figures {
  tensors: Tensor[];
}

/** What is known of a file after more of it has been measured. */
export interface Refreshed extends Figures {
  facts: string[];
  notes: string[];
}

/** A value that has a name. */
export type Fact = [label: string, value: string];

export interface TitledFigure {
  title: string;
  figure: Figure;
}

/** One tensor, measured. */
export interface Detail {
  tensor: Tensor;
  facts: Fact[];
  figures: TitledFigure[];
}
