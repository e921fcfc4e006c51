/**
 * Where somebody works: the folder the file browser shows, or that of the document in front; and its repository.
 */
import { PathExt } from '@jupyterlab/coreutils';
import { Signal, type ISignal } from '@lumino/signaling';

import { find } from '../api/rest';
import type { Found } from '../api/panel';
import { failureOf } from '../views/store';

export class Place {
  private readonly signal = new Signal<this, void>(this);
  private run = 0;

  /** From the server's root. */
  folder = '';
  /** Null until it is known. */
  found: Found | null = null;

  /** Whatever is known of the place has changed. */
  get changed(): ISignal<this, void> {
    return this.signal;
  }

  /** Of the repository, if there is one. */
  get repository(): string | null {
    return this.found?.repository ?? null;
  }

  /** Go to a folder, whatever is there. */
  readonly goTo = async (folder: string): Promise<void> => {
    const path = local(folder);
    const found = await this.ask(path);
    if (found) {
      this.take(path, found);
    }
  };

  /** Go to the folder of a file, unless that leads away from a repository to a place that has none. */
  readonly follow = async (file: string): Promise<void> => {
    const folder = PathExt.dirname(local(file));
    const found = await this.ask(folder);
    if (found && (found.repository !== null || this.repository === null)) {
      this.take(folder, found);
    }
  };

  /** Look again: somebody may have made a repository here, or removed it. */
  readonly look = (): Promise<void> => this.goTo(this.folder);

  /** Null if another question has overtaken this one. */
  private async ask(folder: string): Promise<Found | null> {
    const run = ++this.run;
    let found: Found;
    try {
      found = await find(folder);
    } catch (error) {
      const { message, hint } = failureOf(error);
      found = { repository: null, name: '', ready: false, reason: [message, hint].filter(Boolean).join('. ') };
    }
    return run === this.run ? found : null;
  }

  private take(folder: string, found: Found): void {
    if (folder !== this.folder || JSON.stringify(found) !== JSON.stringify(this.found)) {
      this.folder = folder;
      this.found = found;
      this.signal.emit();
    }
  }
}

/** A path without its drive: the server knows of none. */
export function local(path: string): string {
  return path.replace(/^[^:/]*:/, '').replace(/^\/+|\/+$/g, '');
}

/** A path from the top of its repository; both are from the server's root. */
export function within(repository: string, path: string): string {
  return repository ? PathExt.relative(repository, path) : path;
}
