/**
 * Tabs of the main area: a diff, a merge, or a model. One for each thing that is looked at, there again after a reload.
 */
import type { ILabShell, ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import type { Between } from '../api/rest';
import type { Shared as DiffShared } from '../views/state';
import type { Shared as MergeShared } from '../views/merge/session';
import { plain } from '../views/format';
import type { Link } from '../views/store';
import type { Actions, Words } from '../views/panel/actions';
import { checkpointIcon, thetaIcon } from './icons';
import { Mount } from './mount';
import { offerRefresh } from './refresh';

/** What a tab shows. */
export type Shows =
  | { kind: 'diff'; repository: string; of: Between }
  | { kind: 'merge'; repository: string; path: string }
  | { kind: 'model'; repository: string; path: string; ref: string };

type Tab = MainAreaWidget<Mount>;

interface Options {
  app: JupyterFrontEnd;
  words: Words;
  /** How diffs are shown at first. */
  hideUnchanged: () => boolean;
  actionsOf: (repository: string) => Actions;
}

export class Tabs {
  private readonly tracker = new WidgetTracker<Tab>({ namespace: 'theta' });
  private readonly shown = new WeakMap<Tab, Shows>();
  private readonly merges = new WeakMap<Tab, Link<MergeShared>>();

  constructor(private readonly options: Options) {}

  /** Have tabs restored by a command that opens one. */
  restoreBy(command: string, restorer: ILayoutRestorer): void {
    void restorer.restore(this.tracker, {
      command,
      args: tab => this.shown.get(tab) as unknown as ReadonlyPartialJSONObject,
      name: tab => tab.id
    });
  }

  /** Show it: in the tab there is, or in a new one. */
  open(shows: Shows): Tab {
    const { shell } = this.options.app;
    const id = idOf(shows);
    let tab = this.tracker.find(({ id: other }) => other === id);
    if (!tab) {
      tab = this.make(shows);
      tab.id = id;
      tab.content.addClass('theta-tab');
      this.shown.set(tab, shows);
      void this.tracker.add(tab);
    } else if (shows.kind === 'merge' && shows.path) {
      this.merges.get(tab)?.set({ file: shows.path });
    }
    if (!tab.isAttached) {
      shell.add(tab, 'main');
    }
    shell.activateById(id);
    return tab;
  }

  /** The repository of what a widget shows, if it is one of ours. */
  repositoryOf(widget: ILabShell['currentWidget']): string | null {
    return (widget && this.shown.get(widget as Tab)?.repository) ?? null;
  }

  private make(shows: Shows): Tab {
    switch (shows.kind) {
      case 'diff':
        return this.diff(shows.repository, shows.of);
      case 'merge':
        return this.merge(shows.repository, shows.path);
      case 'model':
        return this.model(shows.repository, shows.path, shows.ref);
    }
  }

  private diff(repository: string, of: Between): Tab {
    const { words, hideUnchanged } = this.options;
    const link = linkOf<DiffShared>({ selection: '', filter: '', hideUnchanged: hideUnchanged(), file: of.path });
    const tab = new MainAreaWidget({
      content: new Mount(async () => (await import('./charts')).drawDiff(repository, of, link, words))
    });
    const between = `${versionText(of.old, words.__('nothing'))} → ${versionText(of.new, words.__('work tree'))}`;
    title(tab, `${PathExt.basename(of.path) || words.__('Models')} ${between}`, [repository, of.path, between]);
    tab.title.icon = thetaIcon;
    if ((of.old && !isFixed(of.old)) || !isFixed(of.new)) {
      offerRefresh(tab, words);
    }
    return tab;
  }

  private merge(repository: string, path: string): Tab {
    const { words } = this.options;
    const link = linkOf<MergeShared>({ selection: [], filter: '', file: path });
    const tab = new MainAreaWidget({
      content: new Mount(async () => (await import('./charts')).drawMerge(repository, link, words))
    });
    title(tab, words.__('Merge %1', PathExt.basename(repository)).trim(), [repository, words.__('Resolve conflicts')]);
    tab.title.icon = thetaIcon;
    // It follows by itself: there is nothing to refresh, and an empty bar says nothing.
    tab.toolbar.hide();
    this.merges.set(tab, link);
    return tab;
  }

  private model(repository: string, path: string, ref: string): Tab {
    const { words, actionsOf } = this.options;
    const tab = new MainAreaWidget({
      content: new Mount(async () =>
        (await import('./model')).drawModel(repository, path, ref, actionsOf(repository), words)
      )
    });
    const version = versionText(ref, words.__('work tree'));
    title(tab, `${PathExt.basename(path)} ${version}`, [repository, path, version]);
    tab.title.icon = checkpointIcon;
    if (!isFixed(ref)) {
      offerRefresh(tab, words);
    }
    return tab;
  }
}

/** What a version is called, for people; what an empty one stands for depends on where it stands. */
function versionText(ref: string, empty: string): string {
  return /^[0-9a-f]{40}/.test(ref) ? ref.slice(0, 7) + ref.slice(40) : ref || empty;
}

/** Whether a ref means the same for ever: a commit's whole id does, or nothing at all. */
function isFixed(ref: string): boolean {
  return /^[0-9a-f]{40}([~^]\d*)*$/.test(ref);
}

/** The same for the same thing; a merge has one tab, whichever file it began with. */
function idOf(shows: Shows): string {
  const { kind, repository } = shows;
  const rest =
    shows.kind === 'diff'
      ? [shows.of.old, shows.of.new, shows.of.path]
      : shows.kind === 'model'
        ? [shows.ref, shows.path]
        : [];
  return ['theta', kind, repository, ...rest].map(encodeURIComponent).join(':');
}

function title(tab: Tab, label: string, caption: readonly string[]): void {
  tab.title.label = plain(label);
  tab.title.caption = caption.filter(Boolean).map(plain).join('\n');
  tab.title.closable = true;
}

/** What is shared with nobody but this page; kept when a view is made anew. */
export function linkOf<Shared>(shared: Shared): Link<Shared> {
  const listeners = new Set<() => void>();
  return {
    get: () => shared,
    set: part => {
      shared = { ...shared, ...part };
      listeners.forEach(listener => listener());
    },
    subscribe: changed => {
      listeners.add(changed);
      return () => listeners.delete(changed);
    }
  };
}
