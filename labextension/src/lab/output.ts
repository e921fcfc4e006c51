/**
 * Shows an output of ours as what it can be: the widget where its kernel lives, else the picture saved with it.
 *
 * A notebook that was saved without widget state, and is opened again, says "Error displaying widget: model not found",
 * although a picture lies beside. The output carries a type of its own, which comes before the widget's here. Whether
 * there is a widget, the kernel knows; while it has not said so, and after it has gone, the picture is there.
 */
import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IRenderMime } from '@jupyterlab/rendermime';
import type { Kernel } from '@jupyterlab/services';
import { Panel } from '@lumino/widgets';

export const MIME = 'application/vnd.theta-jupyter.diff+json';
const WIDGET = 'application/vnd.jupyter.widget-view+json';
const TARGET = 'jupyter.widget';
/** ipywidgets takes -10; what is lower comes first. */
const RANK = -20;

/** What an output can be opened as, in a tab. */
export type Opens = { kind: 'diff'; old: string; new: string; path: string } | { kind: 'merge' };

/** Opens it, and says so; null where there are no tabs. */
export interface Opener {
  label: string;
  open: (of: Opens) => void;
}

/** Take care of our outputs in a notebook. */
export function showOutputs(panel: NotebookPanel, opener: () => Opener | null): void {
  const { rendermime } = panel.content;
  rendermime.addFactory(
    { safe: true, mimeTypes: [MIME], createRenderer: () => new DiffOutput(panel.sessionContext, rendermime, opener) },
    RANK
  );
}

type Session = NotebookPanel['sessionContext'];
type RenderMime = NotebookPanel['content']['rendermime'];
type Shown = typeof WIDGET | 'text/html' | 'text/plain';

class DiffOutput extends Panel implements IRenderMime.IRenderer {
  private model: IRenderMime.IMimeModel | null = null;
  private shown: Shown | null = null;
  private run = 0;

  constructor(
    private readonly session: Session,
    private readonly rendermime: RenderMime,
    private readonly opener: () => Opener | null
  ) {
    super();
    this.addClass('theta-output');
    session.kernelChanged.connect(this.onKernel);
    session.statusChanged.connect(this.onStatus);
  }

  override dispose(): void {
    if (!this.isDisposed) {
      this.run++;
      this.session.kernelChanged.disconnect(this.onKernel);
      this.session.statusChanged.disconnect(this.onStatus);
      super.dispose();
    }
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    this.model = model;
    this.shown = null;
    this.offer(model.data[MIME] as Partial<Opens> | undefined);
    await this.choose();
  }

  /** A button that opens it in a tab. */
  private offer(of: Partial<Opens> | undefined): void {
    this.node.querySelector(':scope > .theta-open')?.remove();
    const opener = of?.kind ? this.opener() : null;
    if (opener) {
      const button = document.createElement('button');
      button.className = 'theta-open';
      button.type = 'button';
      button.textContent = opener.label;
      button.addEventListener('click', () => opener.open(of as Opens));
      this.node.prepend(button);
    }
  }

  private readonly onKernel = (): void => {
    void this.choose();
  };

  private readonly onStatus = (_: unknown, status: Kernel.Status): void => {
    if (GONE.has(status)) {
      this.run++;
      void this.draw('text/html');
    } else if (status === 'idle' && this.shown !== WIDGET) {
      void this.choose();
    }
  };

  /** Show the widget if the kernel has it, and the picture until that is known. */
  private async choose(): Promise<void> {
    const run = ++this.run;
    const id = this.model?.trusted ? modelId(this.model) : '';
    const kernel = this.session.session?.kernel;
    if (id && kernel && !GONE.has(kernel.status) && kernel.hasComm(id)) {
      await this.draw(WIDGET);
      return;
    }
    await this.draw('text/html');
    if (id && kernel && (await comms(kernel)).has(id) && run === this.run) {
      await this.draw(WIDGET);
    }
  }

  private async draw(mimeType: Shown): Promise<void> {
    const { model } = this;
    if (!model || this.isDisposed) {
      return;
    }
    const type = mimeType in model.data ? mimeType : 'text/plain';
    if (type === this.shown) {
      return;
    }
    this.shown = type;
    for (const widget of [...this.widgets]) {
      widget.dispose();
    }
    const renderer = this.rendermime.createRenderer(type);
    this.addWidget(renderer);
    await renderer.renderModel(model);
  }
}

/** In these, a kernel has no widgets, or will not have them for long. */
const GONE = new Set<Kernel.Status>(['autorestarting', 'dead', 'restarting', 'terminating', 'unknown']);

function modelId({ data }: IRenderMime.IMimeModel): string {
  const view = data[WIDGET] as { model_id?: string } | undefined;
  return view?.model_id ?? '';
}

/** The widgets that a kernel has; asked once for all outputs that want to know at the same time. */
function comms(kernel: Kernel.IKernelConnection): Promise<Set<string>> {
  const found =
    asked.get(kernel) ??
    kernel
      .requestCommInfo({ target_name: TARGET })
      .then(
        ({ content }) => new Set(content.status === 'ok' ? Object.keys(content.comms) : []),
        // The kernel went away before it answered.
        () => new Set<string>()
      )
      .finally(() => asked.delete(kernel));
  asked.set(kernel, found);
  return found;
}

const asked = new WeakMap<Kernel.IKernelConnection, Promise<Set<string>>>();
