/**
 * What people can set, and what holds as long as nothing is set.
 */
import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Signal, type ISignal } from '@lumino/signaling';

export interface Preferences {
  pollSeconds: number;
  clickAction: 'diff' | 'model';
  historyLength: number;
  hideUnchanged: boolean;
}

const DEFAULTS: Preferences = { pollSeconds: 3, clickAction: 'diff', historyLength: 50, hideUnchanged: true };

export class Settings {
  private readonly signal = new Signal<this, void>(this);

  now: Preferences = DEFAULTS;

  get changed(): ISignal<this, void> {
    return this.signal;
  }

  /** Take what the registry has, and whatever it is changed to. */
  async follow(registry: ISettingRegistry, plugin: string): Promise<void> {
    const settings = await registry.load(plugin);
    const take = (): void => {
      this.now = { ...DEFAULTS, ...(settings.composite as Partial<Preferences>) };
      this.signal.emit();
    };
    settings.changed.connect(take);
    take();
  }
}
