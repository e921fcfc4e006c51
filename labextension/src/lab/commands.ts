/**
 * What can be done, as commands: for the palette, for menus, for keys, and for whoever writes an extension.
 */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { InputDialog, type ICommandPalette } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import type { IFileBrowserFactory } from '@jupyterlab/filebrowser';
import type { CommandRegistry } from '@lumino/commands';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';

import type { PanelQuestions } from '../api/panel';
import { RestBackend, find } from '../api/rest';
import { plain } from '../views/format';
import type { PanelSession } from '../views/panel';
import type { Words } from '../views/panel/actions';
import { notify } from './actions';
import { CHECKPOINT } from './checkpoints';
import { thetaIcon } from './icons';
import type { Opens } from './output';
import { local, within } from './place';
import type { Shows } from './tabs';
import type { Theta } from './theta';

export const SHOW = 'theta:show';
export const OPEN = 'theta:open';
export const OPEN_OUTPUT = 'theta:open-output';

interface Surroundings {
  app: JupyterFrontEnd;
  theta: Theta;
  palette: ICommandPalette | null;
  browsers: IFileBrowserFactory | null;
}

export function addCommands({ app, theta, palette, browsers }: Surroundings): void {
  const { commands } = app;
  const { words, place, tabs } = theta;
  const category = words.__('Theta');

  const add = (id: string, options: CommandRegistry.ICommandOptions, isInPalette = true): void => {
    commands.addCommand(id, {
      icon: args => (args['isMenu'] || args['isPalette'] ? undefined : thetaIcon),
      ...options
    });
    if (isInPalette) {
      palette?.addItem({ command: id, category, args: { isPalette: true } });
    }
  };
  /** Only where there is a repository that Theta is set up in. */
  const isReady = (): boolean => place.found?.ready ?? false;
  const repository = (): string => place.repository ?? '';

  add(SHOW, {
    label: words.__('Theta Panel'),
    caption: words.__('Show versions of models'),
    execute: () => theta.show()
  });

  add('theta:commit', {
    label: words.__('Commit Models…'),
    caption: words.__('Write the message of a commit'),
    isEnabled: isReady,
    execute: () => theta.focusMessage()
  });

  add('theta:diff', {
    label: words.__('Diff Models Against HEAD'),
    caption: words.__('Show what is different in the work tree'),
    isEnabled: isReady,
    execute: args => {
      const path = typeof args['path'] === 'string' ? args['path'] : '';
      tabs.open({ kind: 'diff', repository: repository(), of: { old: 'HEAD', new: '', path } });
    }
  });

  add('theta:refresh', {
    label: words.__('Refresh Theta'),
    caption: words.__('Look again where the repository stands'),
    isEnabled: () => place.found !== null,
    execute: async () => {
      await place.look();
      await theta.session?.refresh();
    }
  });

  /** Do something that the panel shows: how far it is, how it is cancelled, what went wrong. */
  const inPanel = async (act: (session: PanelSession) => Promise<unknown>): Promise<void> => {
    theta.show();
    const session = await theta.open();
    if (session) {
      await act(session);
    }
  };
  const hasRemote = (): boolean => isReady() && (theta.status?.remotes.length ?? 1) > 0;

  add('theta:push', {
    label: words.__('Push Models'),
    caption: words.__('Send commits, and the tensors they need, to the remote'),
    isEnabled: hasRemote,
    execute: () => inPanel(session => session.push())
  });

  add('theta:pull', {
    label: words.__('Pull Models'),
    caption: words.__('Fetch from the remote, and merge'),
    isEnabled: hasRemote,
    execute: () => inPanel(session => session.pull())
  });

  add('theta:new-branch', {
    label: words.__('New Branch…'),
    caption: words.__('Make a branch from here, and switch to it'),
    isEnabled: isReady,
    execute: () => inPanel(session => session.createBranch())
  });

  add('theta:merge', {
    label: words.__('Merge Branch…'),
    caption: words.__('Merge a branch into the current one'),
    isEnabled: () => isReady() && !theta.status?.merge,
    execute: async () => {
      const here = repository();
      const branch = await askBranch(here, words);
      if (branch) {
        await inPanel(async session => {
          await session.mergeBranch(branch);
          if (session.get().status?.merge) {
            tabs.open({ kind: 'merge', repository: here, path: '' });
          }
        });
      }
    }
  });

  add('theta:resolve', {
    label: words.__('Resolve Conflicts'),
    caption: words.__('Show the merge in progress'),
    isEnabled: () => isReady() && Boolean(theta.status?.merge),
    execute: () => void tabs.open({ kind: 'merge', repository: repository(), path: '' })
  });

  // Files, as the file browser has them; or given as `path`, from the server's root.
  const chosen = (args: ReadonlyPartialJSONObject): string[] => {
    if (typeof args['path'] === 'string') {
      return [args['path']];
    }
    const items = browsers?.tracker.currentWidget?.selectedItems() ?? [];
    return [...items]
      .filter(({ path, type }) => {
        const { name } = app.docRegistry.getFileTypeForModel({ path, type });
        return name === CHECKPOINT;
      })
      .map(({ path }) => local(path));
  };
  const forEach = async (
    args: ReadonlyPartialJSONObject,
    act: (repository: string, path: string) => void
  ): Promise<void> => {
    for (const path of chosen(args)) {
      const { repository, reason } = await find(path);
      if (repository === null) {
        notify(reason || words.__('%1 is in no repository', path), 'error', words);
      } else {
        act(repository, within(repository, path));
      }
    }
  };

  add(
    'theta:track',
    {
      label: words.__('Track with Theta'),
      caption: words.__('Keep versions of this model'),
      isVisible: args => chosen(args).length > 0,
      execute: async args => {
        for (const path of chosen(args)) {
          if (!(await theta.prepare(PathExt.dirname(path)))) {
            return;
          }
          const session = await theta.open();
          if (session && !(await session.track(within(repository(), path)))) {
            // There it says why.
            theta.show();
          }
        }
      }
    },
    false
  );
  add(
    'theta:diff-file',
    {
      label: words.__('Diff Against HEAD'),
      caption: words.__('Show what is different in this model since the last commit'),
      isVisible: args => chosen(args).length > 0,
      execute: args =>
        forEach(args, (repository, path) => tabs.open({ kind: 'diff', repository, of: { old: 'HEAD', new: '', path } }))
    },
    false
  );
  add(
    'theta:history',
    {
      label: words.__('Show History'),
      caption: words.__('Show this model, and the commits that changed it'),
      isVisible: args => chosen(args).length > 0,
      execute: args => forEach(args, (repository, path) => theta.actionsOf(repository).openModel(path))
    },
    false
  );
  add('theta:open-model', {
    label: words.__('Open Model'),
    caption: words.__('Show the tensors of the checkpoint that is selected in the file browser'),
    isEnabled: args => chosen(args).length > 0,
    execute: args => forEach(args, (repository, path) => theta.actionsOf(repository).openModel(path))
  });

  // Not for people: by this, tabs come back after a reload.
  commands.addCommand(OPEN, { execute: args => tabs.open(args as unknown as Shows) });
  // Nor this: what a notebook shows, in a tab.
  commands.addCommand(OPEN_OUTPUT, {
    label: words.__('Open in main area'),
    execute: async args => {
      const { notebook, of } = args as unknown as { notebook: string; of: Opens };
      const { repository, reason } = await find(local(notebook));
      if (repository === null) {
        notify(reason || words.__('%1 is in no repository', notebook), 'error', words);
      } else if (of.kind === 'merge') {
        tabs.open({ kind: 'merge', repository, path: '' });
      } else {
        tabs.open({ kind: 'diff', repository, of: { old: of.old, new: of.new, path: of.path } });
      }
    }
  });

  theta.changed.connect(() => commands.notifyCommandChanged());
}

/** Ask for a branch to merge; null if there is none, or none was chosen. */
async function askBranch(repository: string, words: Words): Promise<string | null> {
  const { branches } = await new RestBackend<PanelQuestions>('panel', repository).ask('branches', {});
  // By what is shown of each name, which is no other's: what `plain` writes a name cannot have.
  const names = new Map(branches.filter(({ current }) => !current).map(({ name }) => [plain(name), name]));
  if (!names.size) {
    notify(words.__('There is no other branch to merge.'), 'info', words);
    return null;
  }
  const { button, value } = await InputDialog.getItem({
    title: words.__('Merge branch'),
    label: words.__('Branch to merge into the current one'),
    okLabel: words.__('Next'),
    cancelLabel: words.__('Cancel'),
    items: [...names.keys()]
  });
  return button.accept && value !== null ? (names.get(value) ?? null) : null;
}
