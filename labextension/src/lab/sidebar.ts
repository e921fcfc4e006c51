/**
 * The panel in the left area, and when it asks: while it is seen, and not otherwise.
 */
import { thetaIcon } from './icons';
import { Mount } from './mount';
import type { Theta } from './theta';

export const PANEL = 'theta-panel';

export class Sidebar extends Mount {
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly theta: Theta) {
    super(async () => (await import('./panel')).drawPanel(theta));
    this.id = PANEL;
    this.addClass('theta-sidebar');
    this.title.icon = thetaIcon;
    this.title.caption = theta.words.__('Theta');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', theta.words.__('Theta'));
    document.addEventListener('visibilitychange', this.onSight);
    theta.settings.changed.connect(this.onSight);
    theta.place.changed.connect(({ folder, repository }) => {
      this.node.dataset['folder'] = folder;
      this.node.dataset['repository'] = repository ?? '';
    });
  }

  override dispose(): void {
    document.removeEventListener('visibilitychange', this.onSight);
    this.theta.settings.changed.disconnect(this.onSight);
    clearTimeout(this.timer);
    super.dispose();
  }

  /** Whoever opens it with a key goes on with Tab. */
  protected override onActivateRequest(): void {
    this.node.tabIndex = -1;
    this.node.focus();
  }

  protected override onAfterAttach(): void {
    super.onAfterAttach();
    this.onSight();
  }

  protected override onAfterShow(): void {
    super.onAfterShow();
    this.onSight();
  }

  protected override onAfterHide(): void {
    this.onSight();
  }

  /** Ask at once and from now on; or no longer. */
  private readonly onSight = (): void => {
    clearTimeout(this.timer);
    if (this.isSeen()) {
      void this.ask();
    }
  };

  private isSeen(): boolean {
    return this.isVisible && document.visibilityState !== 'hidden';
  }

  /** The next question waits for the answer to this one: a slow server is not asked faster than it answers. */
  private async ask(): Promise<void> {
    // What goes wrong, the panel shows.
    await this.theta.poll().catch(() => undefined);
    clearTimeout(this.timer);
    if (this.isSeen()) {
      this.timer = setTimeout(() => void this.ask(), 1000 * this.theta.settings.now.pollSeconds);
    }
  }
}
