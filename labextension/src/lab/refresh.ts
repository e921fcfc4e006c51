/**
 * A button that shows a tab anew, and stands out when something has happened to what it shows.
 */
import { ToolbarButton, type MainAreaWidget } from '@jupyterlab/apputils';
import { refreshIcon } from '@jupyterlab/ui-components';

import { hear } from '../api/page';
import type { Words } from '../views/panel/actions';
import type { Mount } from './mount';

const STALE = 'theta-stale';

export function offerRefresh(tab: MainAreaWidget<Mount>, words: Words): void {
  const button = new ToolbarButton({
    icon: refreshIcon,
    label: words.__('Refresh'),
    tooltip: words.__('Show it as it is now'),
    onClick: () => {
      tab.removeClass(STALE);
      tab.content.redraw();
    }
  });
  button.addClass('theta-refresh');
  button.node.dataset['testid'] = 'theta-refresh';
  tab.toolbar.addItem('theta-refresh', button);
  const end = hear(tab, topic => {
    if (topic === 'repository') {
      tab.addClass(STALE);
    }
  });
  tab.disposed.connect(end);
}
