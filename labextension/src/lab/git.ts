/**
 * Beside the Git extension of JupyterLab: a diff of a checkpoint that is asked for there is ours.
 *
 * It may not be installed, so nothing of it is needed to load: its token is fetched only where its plugin is. Where it
 * is not, `@jupyterlab/git` is in nobody's bundle, and asking for it would fail.
 */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { DiffContent, DiffModel, DiffRequest, IGitExtension } from '@jupyterlab/git';

import type { Words } from '../views/panel/actions';
import { EXTENSIONS } from './checkpoints';
import { Mount, type Drawn } from './mount';
import { local } from './place';
import { linkOf } from './tabs';

const PLUGIN = '@jupyterlab/git:plugin';

/** Offer our diffs, if there is somebody to offer them to. */
export async function offerDiffs(app: JupyterFrontEnd, words: Words): Promise<void> {
  if (!app.hasPlugin(PLUGIN)) {
    return;
  }
  let git: IGitExtension | null;
  try {
    const { IGitExtension } = await import('@jupyterlab/git');
    git = await app.resolveOptionalService(IGitExtension);
  } catch {
    // It is another than we know, or it cannot start. It does without us, and we without it.
    return;
  }
  git?.registerDiffProvider('Theta', EXTENSIONS, request => Promise.resolve(new GitDiff(modelOf(request), words)));
}

/** Versions before 0.40 give the model itself. */
function modelOf(request: DiffRequest | DiffModel): DiffModel {
  return 'model' in request ? request.model : request;
}

/** What the Git extension puts into a tab of its own. */
class GitDiff extends Mount {
  /** It asks what is to be written; but that Theta does, at the end of the merge. */
  readonly isFileResolved = false;

  constructor(
    model: DiffModel,
    private readonly words: Words
  ) {
    super(() => draw(model, words));
    this.addClass('theta-tab');
    model.changed.connect(() => this.redraw());
  }

  refresh(): Promise<void> {
    this.redraw();
    return Promise.resolve();
  }

  getResolvedFile(): Promise<never> {
    return Promise.reject(new Error(this.words.__('Finish the merge here: Theta writes the result, and tells Git.')));
  }
}

async function draw(model: DiffModel, words: Words): Promise<Drawn> {
  const { filename: path, reference, challenger, hasConflict = false } = model;
  const repository = local(model.repositoryPath ?? '');
  const { drawDiff, drawMerge } = await import('./charts');
  if (hasConflict) {
    return drawMerge(repository, linkOf({ selection: [], filter: '', file: path }), words);
  }
  const of = { old: refOf(reference), new: refOf(challenger), path };
  return drawDiff(repository, of, linkOf({ selection: '', filter: '', hideUnchanged: true, file: path }), words);
}

/** Its work tree and index are numbers. */
function refOf({ source }: DiffContent): string {
  return typeof source === 'string' ? source : source === 0 ? '' : ':';
}
