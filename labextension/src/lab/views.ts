import { version } from '../../../package.json';

type Load = () => Promise<unknown>;

/**
 * Offer the views to widgets of our version, so that no kernel needs to send them.
 *
 * Where the loader of a widget (`theta_jupyter/jupyter/loader.js`) looks. They are a chunk of their own, with Plotly in
 * it, which is loaded when the first widget asks.
 */
export function offerViews(): void {
  const key = Symbol.for('theta-jupyter.views');
  const page = globalThis as unknown as Record<symbol, Record<string, Load> | undefined>;
  (page[key] ??= {})[version] = () => import('../widget/index');
}
