/**
 * What all parts of the extension share: the place where somebody works, the repository there, and what is open.
 */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { INotebookTracker } from '@jupyterlab/notebook';
import { Token } from '@lumino/coreutils';
import { Signal, type ISignal } from '@lumino/signaling';

import { announce, hear } from '../api/page';
import type { Status } from '../api/panel';
import { init } from '../api/rest';
import type { PanelSession } from '../views/panel';
import type { Actions, Words } from '../views/panel/actions';
import { failureOf } from '../views/store';
import { actionsOf, notify } from './actions';
import { Place } from './place';
import { Settings } from './settings';
import { Tabs } from './tabs';

export const ITheta = new Token<Theta | null>(
  'theta-jupyter:ITheta',
  'The repository of models where somebody works; null where there is no place for tabs.'
);

interface Options {
  app: JupyterFrontEnd;
  notebooks: INotebookTracker | null;
  words: Words;
  /** The panel's id. */
  panel: string;
}

export class Theta {
  readonly place = new Place();
  readonly settings = new Settings();
  readonly tabs: Tabs;
  readonly words: Words;
  private readonly signal = new Signal<this, void>(this);
  private readonly actions = new Map<string, Actions>();
  private readonly sessions = new Map<string, PanelSession>();

  constructor(private readonly options: Options) {
    const { app, words } = options;
    this.words = words;
    this.tabs = new Tabs({
      app,
      words,
      hideUnchanged: () => this.settings.now.hideUnchanged,
      actionsOf: this.actionsOf
    });
    this.place.changed.connect(() => this.signal.emit());
    this.settings.changed.connect(() => {
      this.sessions.forEach(session => session.setPageSize(this.settings.now.historyLength));
      this.signal.emit();
    });
    hear(this, topic => {
      if (topic === 'repository' && this.place.found?.ready === false) {
        void this.place.look();
      }
    });
  }

  /** Anything that commands or views depend on. */
  get changed(): ISignal<this, void> {
    return this.signal;
  }

  /** The same, as React wants it. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.signal.connect(listener);
    return () => this.signal.disconnect(listener);
  };

  /** Of the repository where somebody works, if it has been opened. */
  get session(): PanelSession | null {
    const { repository } = this.place;
    return repository === null ? null : (this.sessions.get(repository) ?? null);
  }

  get status(): Status | null {
    return this.session?.get().status ?? null;
  }

  readonly actionsOf = (repository: string): Actions => {
    const { app, notebooks, words } = this.options;
    const actions = this.actions.get(repository) ?? actionsOf(repository, { app, tabs: this.tabs, notebooks, words });
    this.actions.set(repository, actions);
    return actions;
  };

  /** Begin to ask about the repository at hand. The views are loaded for that, but nothing is drawn. */
  async open(): Promise<PanelSession | null> {
    const { repository } = this.place;
    if (repository === null) {
      return null;
    }
    const { makeSession } = await import('./panel');
    let session = this.sessions.get(repository);
    if (!session) {
      session = makeSession(repository, this.actionsOf(repository), this.settings.now.historyLength, this.words);
      this.sessions.set(repository, session);
      session.subscribe(() => this.signal.emit());
      this.signal.emit();
    }
    return session;
  }

  /** Ask whether anything has happened. */
  async poll(): Promise<void> {
    await (this.place.repository === null ? this.place.look() : this.session?.poll());
  }

  /** Bring the panel to the front. */
  show(): void {
    this.options.app.shell.activateById(this.options.panel);
  }

  /** Bring the panel to the front, and the cursor to the message of the next commit. */
  async focusMessage(): Promise<void> {
    this.show();
    // What is shown for the first time is loaded first.
    for (let tries = 0; tries < 50; tries++) {
      const box = document.querySelector<HTMLElement>(`#${this.options.panel} textarea`);
      if (box) {
        box.focus();
        return;
      }
      await new Promise(resolve => setTimeout(resolve, 100));
    }
  }

  /** See to it that a folder has a repository with Theta set up in it; false if it is not to have one. */
  async prepare(folder: string): Promise<boolean> {
    const { words } = this;
    await this.place.goTo(folder);
    const { found } = this.place;
    if (found?.ready) {
      return true;
    }
    if (found?.reason) {
      notify(found.reason, 'error', words);
      return false;
    }
    const isWanted = await this.actionsOf('').confirm({
      title: words.__('Set up Theta?'),
      body: found?.repository
        ? words.__('The repository %1 is not set up for models yet.', found.name)
        : words.__('There is no repository here yet. One is made in this folder.'),
      accept: words.__('Set up')
    });
    return isWanted && (await this.init(folder));
  }

  /** Make a repository in a folder, or set Theta up in the one around it. */
  readonly init = async (folder = this.place.folder): Promise<boolean> => {
    try {
      const { message } = await init(folder);
      notify(message, 'success', this.words);
      return true;
    } catch (error) {
      const { message, hint } = failureOf(error);
      notify([message, hint].filter(Boolean).join('; '), 'error', this.words);
      return false;
    } finally {
      announce('repository', this);
      await this.place.look();
    }
  };
}
