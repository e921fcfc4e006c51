/**
 * The dialog that asks how to merge a branch; the controls are those of the merge's own view.
 */
import { Dialog, ReactWidget, showDialog } from '@jupyterlab/apputils';
import type { ReactElement } from 'react';

import type { Strategy } from '../api/merge';
import { plain } from '../views/format';
import { ParameterControls, StrategyChooser, isComplete } from '../views/merge/controls';
import type { Draft } from '../views/merge/session';
import type { Words } from '../views/panel/actions';
import { injectStyle } from '../views/style';

/** Null if it is not to be merged; an empty strategy leaves conflicts to be decided one by one. */
export async function askStrategy(
  branch: string,
  strategies: readonly Strategy[],
  words: Words
): Promise<Draft | null> {
  injectStyle();
  let draft: Draft = { strategy: '', parameters: {} };
  // A strategy may want to be told something that has no default: then the question stays.
  for (;;) {
    const { button, value } = await showDialog({
      title: words.__('Merge %1', plain(branch)),
      body: new StrategyBody(draft, strategies, words),
      buttons: [Dialog.cancelButton({ label: words.__('Cancel') }), Dialog.okButton({ label: words.__('Merge') })],
      focusNodeSelector: 'select'
    });
    if (!button.accept || !value) {
      return null;
    }
    draft = value;
    if (!draft.strategy || isComplete(draft, strategies)) {
      return draft;
    }
  }
}

class StrategyBody extends ReactWidget implements Dialog.IBodyWidget<Draft> {
  constructor(
    private draft: Draft,
    private readonly strategies: readonly Strategy[],
    private readonly words: Words
  ) {
    super();
    this.addClass('theta-dialog');
    this.addClass('theta-root');
    this.node.dataset['testid'] = 'theta-strategy-dialog';
  }

  getValue(): Draft {
    return this.draft;
  }

  protected override render(): ReactElement {
    const { draft, strategies, words } = this;
    const strategy = strategies.find(({ name }) => name === draft.strategy);
    const take = (next: Draft): void => {
      this.draft = next;
      this.update();
    };
    return (
      <>
        <p>{words.__('What does not settle by itself, because both sides changed it:')}</p>
        <StrategyChooser
          label={words.__('How to merge conflicts')}
          strategies={strategies}
          value={draft.strategy}
          none={words.__('Ask me about each conflict')}
          onChoose={name => take({ strategy: name, parameters: {} })}
        />
        <p className="theta-hint">
          {strategy
            ? plain(strategy.summary)
            : words.__('They are shown one by one, with previews, before anything is written.')}
        </p>
        {strategy && (
          <ParameterControls
            strategy={strategy}
            given={draft.parameters}
            onChange={parameters => take({ ...draft, parameters })}
          />
        )}
      </>
    );
  }
}
