/**
 * The item in the status bar: the branch, and how many models are not as they were committed.
 */
import { ReactWidget } from '@jupyterlab/ui-components';
import type { ReactElement } from 'react';

import { plain } from '../views/format';
import { thetaIcon } from './icons';
import type { Theta } from './theta';

export class StatusItem extends ReactWidget {
  constructor(private readonly theta: Theta) {
    super();
    this.addClass('theta-status-item');
    theta.changed.connect(() => this.update());
  }

  /** Whether there is anything to say. */
  readonly isActive = (): boolean => this.theta.status !== null;

  protected override render(): ReactElement | null {
    const { status, place, words } = this.theta;
    if (!status) {
      return null;
    }
    const { branch, changes, merge } = status;
    const count = changes.filter(({ state }) => state !== 'untracked').length;
    const name = plain(branch) || words.__('no branch');
    const more = merge ? words.__('merging') : count ? words._n('%1 changed', '%1 changed', count) : '';
    const about = words.__('Models of %1 on %2', plain(place.found?.name ?? ''), name);
    return (
      <button
        type="button"
        className="jp-mod-highlighted"
        data-testid="theta-status"
        title={[about, more].filter(Boolean).join(', ')}
        onClick={() => this.theta.show()}
      >
        <thetaIcon.react tag="span" stylesheet="statusBar" />
        {[name, more].filter(Boolean).join(' · ')}
      </button>
    );
  }
}
