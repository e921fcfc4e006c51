/**
 * Goes where somebody works: with the file browser, and with the document in front.
 */
import type { ILabShell } from '@jupyterlab/application';
import type { IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { DocumentWidget } from '@jupyterlab/docregistry';

import type { Theta } from './theta';

export function follow(theta: Theta, shell: ILabShell, browser: IDefaultFileBrowser | null): void {
  const { place, tabs } = theta;
  const onFolder = (): void => void place.goTo(browser?.model.path ?? '');
  const onWidget = (): void => {
    const widget = shell.currentWidget;
    const repository = tabs.repositoryOf(widget);
    if (repository !== null) {
      void place.goTo(repository);
    } else if (widget instanceof DocumentWidget) {
      void place.follow(widget.context.path);
    }
  };
  browser?.model.pathChanged.connect(onFolder);
  shell.currentChanged.connect(onWidget);
  // It remembers its folder from last time, and that takes a moment.
  void (browser?.model.restored ?? Promise.resolve()).then(onFolder).then(onWidget);
  // Who has set Theta up here wants to see the branch, whether the panel is open or not.
  const onPlace = (): void => {
    if (place.found?.ready) {
      void theta.open();
    }
  };
  place.changed.connect(onPlace);
  onPlace();
}
