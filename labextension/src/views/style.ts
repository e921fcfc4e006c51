/** The style sheet of the views, which travels with them as text. */
import { version } from '../../../package.json';
import css from '../../style/views.raw.css';

/** Put it where an element stands, once for each document or shadow root. */
export function injectStyle(element: Node = document.body): void {
  const root = element.getRootNode();
  const place = root instanceof ShadowRoot ? root : document.head;
  if (!place.querySelector(`style[data-theta-views="${version}"]`)) {
    const style = document.createElement('style');
    style.dataset['thetaViews'] = version;
    style.textContent = css;
    place.append(style);
  }
}
