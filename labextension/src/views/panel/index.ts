/** The panel, for whoever shows it. */
export { EmptyPanel, PanelView } from './panel';
export { PanelSession, type Section } from './session';
