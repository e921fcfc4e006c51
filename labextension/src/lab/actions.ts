/**
 * What the panel wants done, done by JupyterLab.
 */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { Clipboard, Dialog, InputDialog, Notification, showDialog } from '@jupyterlab/apputils';
import { PathExt } from '@jupyterlab/coreutils';
import { NotebookActions, type INotebookTracker } from '@jupyterlab/notebook';

import type { MergeQuestions } from '../api/merge';
import { RestBackend } from '../api/rest';
import { plainLines } from '../views/format';
import type { Actions, Compared, Words } from '../views/panel/actions';
import { FACTORY } from './documents';
import { askIdentity } from './identity';
import type { Tabs } from './tabs';

interface Options {
  app: JupyterFrontEnd;
  tabs: Tabs;
  notebooks: INotebookTracker | null;
  words: Words;
}

/** A notification does not show more letters than these. */
const MOST = 140;
/** Milliseconds that good news stays. */
const SHORT = 4000;

export function actionsOf(repository: string, { app, tabs, notebooks, words }: Options): Actions {
  const cancel = (): Dialog.IButton => Dialog.cancelButton({ label: words.__('Cancel') });
  return {
    openDiff: ({ old, new: now, path = '' }: Compared) =>
      void tabs.open({ kind: 'diff', repository, of: { old, new: now, path } }),

    openMerge: (path = '') => void tabs.open({ kind: 'merge', repository, path }),

    openModel: (path, ref = '') => {
      if (ref) {
        tabs.open({ kind: 'model', repository, path, ref });
      } else {
        // The file itself: the same tab that a double click in the file browser opens.
        void app.commands.execute('docmanager:open', { path: PathExt.join(repository, path), factory: FACTORY });
      }
    },

    confirm: async ({ title, body, accept, isDanger }) => {
      const ok = isDanger ? Dialog.warnButton({ label: accept }) : Dialog.okButton({ label: accept });
      // Where something may be lost, Enter loses nothing.
      const { button } = await showDialog({
        title: plainLines(title),
        body: plainLines(body),
        buttons: [cancel(), ok],
        defaultButton: isDanger ? 0 : 1
      });
      return button.accept;
    },

    ask: async ({ title, label, accept, value = '' }) => {
      const options = {
        title: plainLines(title),
        label,
        okLabel: accept,
        cancelLabel: words.__('Cancel'),
        text: value
      };
      const { button, value: said } = await InputDialog.getText(options);
      const text = said?.trim();
      return button.accept && text ? text : null;
    },

    askIdentity: () => askIdentity(words),

    askStrategy: async branch => {
      const backend = new RestBackend<MergeQuestions>('merge', repository);
      const [{ askStrategy }, strategies] = await Promise.all([import('./strategy'), backend.ask('strategies', {})]);
      return askStrategy(branch, strategies, words);
    },

    notify: (message, kind = 'info') => notify(message, kind, words),

    insertCode: code => {
      const panel = notebooks?.currentWidget;
      if (!panel) {
        return false;
      }
      NotebookActions.insertBelow(panel.content);
      panel.content.activeCell?.model.sharedModel.setSource(code);
      app.shell.activateById(panel.id);
      return true;
    },

    copy: text => {
      Clipboard.copyToSystem(text);
      notify(words.__('Copied'), 'success', words);
    }
  };
}

/** Tell something; errors stay until somebody has seen them, and a long text can be read to its end. */
export function notify(text: string, kind: 'success' | 'info' | 'error', words: Words): void {
  // Names that strangers gave are in it.
  const message = plainLines(text);
  const actions =
    message.length > MOST
      ? [
          {
            label: words.__('Details'),
            callback: () => void showDialog({ title: words.__('Theta'), body: message, buttons: [Dialog.okButton()] })
          }
        ]
      : [];
  Notification.emit(message, kind, { autoClose: kind === 'error' ? false : SHORT, actions });
}
