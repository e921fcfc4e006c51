/**
 * A place in JupyterLab for what React draws.
 */
import { Widget } from '@lumino/widgets';
import { Fragment, createElement, type ReactNode } from 'react';
import { createRoot, type Root } from 'react-dom/client';

import { WordsContext, type Words } from '../views/panel/actions';
import { failureOf } from '../views/store';

/** What is drawn, and how to end what stands behind it. */
export interface Drawn {
  element: ReactNode;
  dispose?: () => void;
}

/** In the user's language. */
export function inWords(words: Words, element: ReactNode): ReactNode {
  return createElement(WordsContext.Provider, { value: words }, element);
}

/**
 * Draws when it is first seen, and not before: what nobody looks at loads nothing.
 *
 * It stays drawn while its tab is hidden or moved.
 */
export class Mount extends Widget {
  private root: Root | null = null;
  private drawn: Drawn | null = null;
  private run = 0;

  constructor(private readonly draw: () => Promise<Drawn>) {
    super();
    this.addClass('theta-mount');
  }

  /** Draw anew, if anything has been drawn. */
  redraw(): void {
    if (this.root) {
      void this.paint();
    }
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.run++;
      this.root?.unmount();
      this.drawn?.dispose?.();
      super.dispose();
    }
  }

  protected override onAfterAttach(): void {
    this.start();
  }

  protected override onAfterShow(): void {
    this.start();
  }

  private start(): void {
    if (this.isVisible && !this.root) {
      this.root = createRoot(this.node);
      void this.paint();
    }
  }

  private async paint(): Promise<void> {
    const run = ++this.run;
    let drawn: Drawn;
    try {
      drawn = await this.draw();
    } catch (error) {
      drawn = { element: createElement('p', { className: 'theta-mount-failure' }, failureOf(error).message) };
    }
    if (run !== this.run) {
      drawn.dispose?.();
      return;
    }
    const last = this.drawn;
    this.drawn = drawn;
    // With a key, so that nothing of what stood here is kept.
    this.root?.render(createElement(Fragment, { key: run }, drawn.element));
    last?.dispose?.();
  }
}
