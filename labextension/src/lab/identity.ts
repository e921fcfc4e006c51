/**
 * The dialog that asks in whose name to commit.
 */
import { Dialog, showDialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import type { Words } from '../views/panel/actions';

/** In whose name to commit. */
export interface Identity {
  name: string;
  email: string;
}

/** Ask in whose name to commit; null if nothing was said. */
export async function askIdentity(words: Words): Promise<Identity | null> {
  const { button, value } = await showDialog({
    title: words.__('Who commits?'),
    body: new IdentityBody(words),
    buttons: [
      Dialog.cancelButton({ label: words.__('Cancel') }),
      Dialog.okButton({ label: words.__('Commit in this name') })
    ],
    focusNodeSelector: 'input'
  });
  return button.accept && value?.name && value.email ? value : null;
}

class IdentityBody extends Widget implements Dialog.IBodyWidget<Identity> {
  private readonly name: HTMLInputElement;
  private readonly email: HTMLInputElement;

  constructor(words: Words) {
    super();
    this.addClass('theta-dialog');
    const note = document.createElement('p');
    note.textContent = words.__('Git does not know yet. It is kept in this repository.');
    this.node.append(note);
    this.name = this.field(words.__('Name'), 'name', 'text');
    this.email = this.field(words.__('E-mail'), 'email', 'email');
  }

  getValue(): Identity {
    return { name: this.name.value.trim(), email: this.email.value.trim() };
  }

  private field(text: string, name: string, type: string): HTMLInputElement {
    const label = document.createElement('label');
    const input = document.createElement('input');
    Object.assign(input, { type, name, autocomplete: name, required: true, className: 'jp-mod-styled' });
    input.dataset['testid'] = `theta-identity-${name}`;
    label.append(text, input);
    this.node.append(label);
    return input;
  }
}
