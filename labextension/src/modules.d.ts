/** The builder turns an imported SVG into its text. */
declare module '*.svg' {
  const text: string;
  export default text;
}

/** Both bundlers turn this kind of style sheet into its text. */
declare module '*.raw.css' {
  const text: string;
  export default text;
}

/** Both bundlers keep only what is imported of it. */
declare module '*/package.json' {
  export const version: string;
}

/** What we use of Plotly; its own types are older than it is, and large. */
declare module 'plotly.js-cartesian-dist-min' {
  export interface Point {
    x: number;
    y: number;
    curveNumber: number;
    pointIndex: number | [number, number];
  }

  export interface PlotElement extends HTMLElement {
    on(event: 'plotly_click', handler: (event: { points: Point[] }) => void): void;
    on(event: 'plotly_selected', handler: (event?: { range?: { x: [number, number] } }) => void): void;
  }

  const Plotly: {
    react(element: HTMLElement, data: object[], layout: object, config: object): Promise<PlotElement>;
    purge(element: HTMLElement): void;
    Plots: { resize(element: HTMLElement): Promise<void> };
  };
  export default Plotly;
}

/** What we use of the Git extension, which may not be there; see `lab/git.ts`. */
declare module '@jupyterlab/git' {
  import type { Token } from '@lumino/coreutils';
  import type { ISignal } from '@lumino/signaling';
  import type { Widget } from '@lumino/widgets';

  export interface DiffContent {
    /** A ref; 0 for the work tree, 1 for the index. */
    source: string | number;
  }

  export interface DiffModel {
    readonly filename: string;
    /** From the server's root. */
    readonly repositoryPath?: string;
    readonly reference: DiffContent;
    readonly challenger: DiffContent;
    readonly hasConflict?: boolean;
    readonly changed: ISignal<DiffModel, unknown>;
  }

  export interface DiffRequest {
    model: DiffModel;
  }

  export interface DiffWidget extends Widget {
    refresh(): Promise<void>;
    isFileResolved: boolean;
    getResolvedFile(): Promise<object>;
  }

  export interface IGitExtension {
    registerDiffProvider(
      name: string,
      fileExtensions: string[],
      callback: (request: DiffRequest | DiffModel) => Promise<DiffWidget>
    ): void;
  }

  export const IGitExtension: Token<IGitExtension>;
}
