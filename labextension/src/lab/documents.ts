/**
 * What a checkpoint opens as, when it is double-clicked in the file browser.
 *
 * JupyterLab opens a file by fetching all of it, and a checkpoint may have ten gigabytes. It fetches nothing but name,
 * size and date if the model factory says that its files have no format (`Context._revert` in @jupyterlab/docregistry,
 * the same since 4.2: `content: this._factory.fileFormat !== null`), so ours does.
 *
 * Two more dangers are kept away. JupyterLab makes a copy of a file when it opens or saves it, as a checkpoint of its
 * own; and it could save what it believes the file to hold, which is nothing. So a context of ours does neither, and
 * should anybody find another way, the model refuses to say what it holds.
 */
import type { ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { WidgetTracker } from '@jupyterlab/apputils';
import {
  ABCWidgetFactory,
  DocumentModel,
  DocumentWidget,
  TextModelFactory,
  type DocumentRegistry
} from '@jupyterlab/docregistry';
import type { Contents } from '@jupyterlab/services';

import type { Words } from '../views/panel/actions';
import { CHECKPOINT } from './checkpoints';
import { checkpointIcon } from './icons';
import { Mount, type Drawn } from './mount';
import { offerRefresh } from './refresh';

/** The widget factory, as the menu "Open With" calls it. */
export const FACTORY = 'Theta Model';
const MODEL = 'theta-model';

class NothingModel extends DocumentModel {
  override toString(): string {
    throw new Error('A model is never saved from here: JupyterLab has not read it.');
  }
}

class NothingFactory extends TextModelFactory {
  constructor() {
    super(false);
  }

  override get name(): string {
    return MODEL;
  }

  override get fileFormat(): Contents.FileFormat {
    return null;
  }

  override createNew(): DocumentRegistry.ICodeModel {
    return new NothingModel();
  }
}

type Document = DocumentWidget<Mount>;
type Context = DocumentRegistry.IContext<DocumentRegistry.ICodeModel>;

class ModelFactory extends ABCWidgetFactory<Document, DocumentRegistry.ICodeModel> {
  constructor(
    private readonly words: Words,
    private readonly draw: (path: string) => Promise<Drawn>
  ) {
    super({
      name: FACTORY,
      label: words.__('Theta Model'),
      modelName: MODEL,
      fileTypes: [CHECKPOINT],
      defaultFor: [CHECKPOINT],
      readOnly: true
    });
  }

  protected override createNewWidget(context: Context): Document {
    neverSave(context);
    const content = new Mount(() => this.draw(context.path));
    content.addClass('theta-tab');
    const document = new DocumentWidget({ content, context });
    document.title.icon = checkpointIcon;
    offerRefresh(document, this.words);
    context.pathChanged.connect(() => content.redraw());
    return document;
  }
}

function neverSave(context: Context): void {
  context.save = () => Promise.resolve();
  context.saveAs = () => Promise.resolve(false);
  context.createCheckpoint = () => Promise.resolve({ id: '', last_modified: '' });
}

/** Have checkpoints opened as models, and opened again after a reload. */
export function openCheckpoints(
  { docRegistry }: JupyterFrontEnd,
  restorer: ILayoutRestorer | null,
  words: Words,
  draw: (path: string) => Promise<Drawn>
): void {
  const factory = new ModelFactory(words, draw);
  const tracker = new WidgetTracker<Document>({ namespace: 'theta-documents' });
  factory.widgetCreated.connect((_, document) => {
    document.context.pathChanged.connect(() => void tracker.save(document));
    void tracker.add(document);
  });
  docRegistry.addModelFactory(new NothingFactory());
  // Its types do not agree with each other about what is not there.
  docRegistry.addWidgetFactory(factory as DocumentRegistry.WidgetFactory);
  void restorer?.restore(tracker, {
    command: 'docmanager:open',
    args: ({ context }) => ({ path: context.path, factory: FACTORY }),
    name: ({ context }) => context.path
  });
}
