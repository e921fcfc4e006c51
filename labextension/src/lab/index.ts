import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { LabIcon } from '@jupyterlab/ui-components';

import checkpointSvg from '../../style/checkpoint.svg';
import { showOutputs } from './output';
import { offerViews } from './views';

/** A theta, the usual name of a model's parameters. */
const checkpointIcon = new LabIcon({ name: 'theta-jupyter:checkpoint', svgstr: checkpointSvg });

/**
 * Files that hold a model's tensors, shown as such in the file browser.
 *
 * `.bin` is not among them: most files of that name are something else.
 */
const checkpoints: JupyterFrontEndPlugin<void> = {
  id: 'theta-jupyter:checkpoints',
  description: 'Shows model checkpoints as such in the file browser.',
  autoStart: true,
  activate: ({ docRegistry }: JupyterFrontEnd) => {
    docRegistry.addFileType({
      name: 'theta-checkpoint',
      displayName: 'Model Checkpoint',
      extensions: ['.safetensors', '.pt', '.pth', '.ckpt', '.npz', '.npy'],
      mimeTypes: ['application/octet-stream'],
      fileFormat: 'base64',
      icon: checkpointIcon
    });
  }
};

const widgets: JupyterFrontEndPlugin<void> = {
  id: 'theta-jupyter:widgets',
  description: 'Brings the views of widgets, and shows their pictures where no kernel has them.',
  autoStart: true,
  activate: ({ docRegistry }: JupyterFrontEnd) => {
    offerViews();
    docRegistry.addWidgetExtension('Notebook', {
      createNew: panel => showOutputs(panel as NotebookPanel)
    });
  }
};

export default [checkpoints, widgets];
