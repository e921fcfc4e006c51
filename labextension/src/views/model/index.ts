/** The view of one model. */
export { ModelSession } from './session';
export { ModelView, type ModelActions } from './model';
