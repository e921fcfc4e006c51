/** What JupyterLab is given to show: dialogs and notifications are not drawn by the views, and need the same care. */
import { describe, expect, it, vi } from 'vitest';

import { actionsOf, notify } from '../src/lab/actions';
import { english } from '../src/views/panel/actions';

const lab = vi.hoisted(() => ({ showDialog: vi.fn(), getText: vi.fn(), emit: vi.fn() }));

vi.mock('@jupyterlab/apputils', () => {
  const button = (options: object): object => options;
  return {
    Clipboard: {},
    Dialog: { cancelButton: button, okButton: button, warnButton: button },
    InputDialog: { getText: lab.getText },
    Notification: { emit: lab.emit },
    showDialog: lab.showDialog
  };
});
vi.mock('@jupyterlab/notebook', () => ({ NotebookActions: {} }));
vi.mock('../src/lab/documents', () => ({ FACTORY: 'theta' }));
vi.mock('../src/lab/identity', () => ({ askIdentity: vi.fn() }));

const NAME = 'a\u202egnp.\u0007';
const TEXT = 'a\\u202egnp.\\x07';

const actions = actionsOf('repository', { app: {}, tabs: {}, notebooks: null, words: english } as never);

describe('names in what JupyterLab shows', () => {
  it('are text in a question', async () => {
    lab.showDialog.mockResolvedValue({ button: { accept: true } });
    await actions.confirm({ title: `Delete ${NAME}?`, body: `${NAME} goes.\nFor good.`, accept: 'Delete' });
    expect(lab.showDialog.mock.lastCall?.[0]).toMatchObject({
      title: `Delete ${TEXT}?`,
      body: `${TEXT} goes.\nFor good.`
    });
    lab.getText.mockResolvedValue({ button: { accept: true }, value: ' idea ' });
    expect(await actions.ask({ title: `From ${NAME}`, label: 'Name', accept: 'Create' })).toBe('idea');
    expect(lab.getText.mock.lastCall?.[0]).toMatchObject({ title: `From ${TEXT}` });
  });

  it('are text in a notification, and where it is told in full', () => {
    actions.notify(`made ${NAME}\n  and more`, 'success');
    expect(lab.emit.mock.lastCall?.slice(0, 2)).toEqual([`made ${TEXT}\nand more`, 'success']);
    notify(NAME.repeat(40), 'error', english);
    const [, , { actions: offered }] = lab.emit.mock.lastCall as [string, string, { actions: { callback(): void }[] }];
    offered[0]?.callback();
    expect(lab.showDialog.mock.lastCall?.[0]).toMatchObject({ body: TEXT.repeat(40) });
  });
});
