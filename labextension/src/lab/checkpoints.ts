/**
 * Files that hold a model's tensors, shown as such in the file browser.
 *
 * `.bin` is not among them: most files of that name are something else.
 */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';

import { checkpointIcon } from './icons';

/** The name of the file type. */
export const CHECKPOINT = 'theta-checkpoint';
export const EXTENSIONS = ['.safetensors', '.pt', '.pth', '.ckpt', '.npz', '.npy'];

export const checkpoints: JupyterFrontEndPlugin<void> = {
  id: 'theta-jupyter:checkpoints',
  description: 'Shows model checkpoints as such in the file browser.',
  autoStart: true,
  activate: ({ docRegistry }: JupyterFrontEnd) => {
    docRegistry.addFileType({
      name: CHECKPOINT,
      displayName: 'Model Checkpoint',
      extensions: EXTENSIONS,
      mimeTypes: ['application/octet-stream'],
      fileFormat: 'base64',
      icon: checkpointIcon
    });
  }
};
