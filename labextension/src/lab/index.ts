import { ILabShell, ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IDefaultFileBrowser, IFileBrowserFactory } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker, type NotebookPanel } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import '../../style/lab.css';
import { checkpoints } from './checkpoints';
import { OPEN, OPEN_OUTPUT, SHOW, addCommands } from './commands';
import { openCheckpoints } from './documents';
import { follow } from './follow';
import { offerDiffs } from './git';
import { showOutputs, type Opens } from './output';
import { PANEL, Sidebar } from './sidebar';
import { StatusItem } from './status';
import { ITheta, Theta } from './theta';
import { offerViews } from './views';
import { wordsOf } from './words';

/** Between the file browser and running sessions, tables of contents and the like. */
const RANK = 210;

const widgets: JupyterFrontEndPlugin<void> = {
  id: 'theta-jupyter:widgets',
  description: 'Brings the views of widgets, and shows their pictures where no kernel has them.',
  autoStart: true,
  activate: ({ docRegistry, commands }: JupyterFrontEnd) => {
    offerViews();
    docRegistry.addWidgetExtension('Notebook', {
      createNew: panel => {
        const notebook = panel as NotebookPanel;
        const open = (of: Opens): void => {
          void commands.execute(OPEN_OUTPUT, { notebook: notebook.context.path, of: { ...of } });
        };
        // Where there is no such command, there are no tabs.
        showOutputs(notebook, () =>
          commands.hasCommand(OPEN_OUTPUT) ? { label: commands.label(OPEN_OUTPUT), open } : null
        );
      }
    });
  }
};

const panel: JupyterFrontEndPlugin<Theta | null> = {
  id: 'theta-jupyter:panel',
  description: 'The panel of models and their versions, with its tabs, commands and settings.',
  autoStart: true,
  provides: ITheta,
  optional: [
    ILabShell,
    ILayoutRestorer,
    ICommandPalette,
    IDefaultFileBrowser,
    IFileBrowserFactory,
    INotebookTracker,
    ISettingRegistry,
    ITranslator
  ],
  activate: (
    app: JupyterFrontEnd,
    shell: ILabShell | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    browser: IDefaultFileBrowser | null,
    browsers: IFileBrowserFactory | null,
    notebooks: INotebookTracker | null,
    registry: ISettingRegistry | null,
    translator: ITranslator | null
  ): Theta | null => {
    if (!shell) {
      // Notebook 7 has one document for each page: there is no place for tabs.
      return null;
    }
    const words = wordsOf((translator ?? nullTranslator).load('theta_jupyter'));
    const theta = new Theta({ app, notebooks, words, panel: PANEL });
    addCommands({ app, theta, palette, browsers });
    const sidebar = new Sidebar(theta);
    shell.add(sidebar, 'left', { rank: RANK, type: 'Theta' });
    if (restorer) {
      restorer.add(sidebar, PANEL);
      theta.tabs.restoreBy(OPEN, restorer);
    }
    if (registry) {
      // Where they cannot be read, everything is as it is by default.
      theta.settings.follow(registry, panel.id).catch(() => undefined);
    }
    void app.restored.then(() => follow(theta, shell, browser));
    return theta;
  }
};

const models: JupyterFrontEndPlugin<void> = {
  id: 'theta-jupyter:models',
  description: 'Opens checkpoints as models, without reading them.',
  autoStart: true,
  optional: [ITheta, ILayoutRestorer],
  activate: (app: JupyterFrontEnd, theta: Theta | null, restorer: ILayoutRestorer | null) => {
    if (theta) {
      openCheckpoints(app, restorer, theta.words, async path => (await import('./model')).drawFile(path, theta));
    }
  }
};

const launcher: JupyterFrontEndPlugin<void> = {
  id: 'theta-jupyter:launcher',
  description: 'A card in the launcher that opens the panel.',
  autoStart: true,
  optional: [ITheta, ILauncher],
  activate: (_: JupyterFrontEnd, theta: Theta | null, launcher: ILauncher | null) => {
    if (theta) {
      launcher?.add({ command: SHOW, category: 'Other', rank: 10 });
    }
  }
};

const status: JupyterFrontEndPlugin<void> = {
  id: 'theta-jupyter:status',
  description: 'Shows branch and changed models in the status bar.',
  autoStart: true,
  optional: [ITheta, IStatusBar],
  activate: (_: JupyterFrontEnd, theta: Theta | null, bar: IStatusBar | null) => {
    if (theta && bar) {
      const item = new StatusItem(theta);
      const { isActive } = item;
      const { changed: activeStateChanged } = theta;
      bar.registerStatusItem(status.id, { item, align: 'left', rank: 10, isActive, activeStateChanged });
    }
  }
};

const git: JupyterFrontEndPlugin<void> = {
  id: 'theta-jupyter:git',
  description: 'Shows diffs of models in the Git extension, where that is installed.',
  autoStart: true,
  optional: [ITheta],
  activate: (app: JupyterFrontEnd, theta: Theta | null) => {
    if (theta) {
      void app.restored.then(() => offerDiffs(app, theta.words));
    }
  }
};

export default [checkpoints, widgets, panel, models, launcher, status, git];
