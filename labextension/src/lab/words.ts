import type { TranslationBundle } from '@jupyterlab/translation';

import type { Words } from '../views/panel/actions';

/** What JupyterLab has in the user's language, as functions that can be passed around. */
export function wordsOf(bundle: TranslationBundle): Words {
  return {
    __: (text, ...values) => bundle.__(text, ...values),
    _n: (one, many, count, ...values) => bundle._n(one, many, count, ...values)
  };
}
