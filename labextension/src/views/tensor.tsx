/**
 * The selected tensor, in detail.
 *
 * What is known already is shown at once; exact numbers, facts and pictures follow when they have been worked out, in
 * their own places.
 */
import type { ReactElement } from 'react';

import type { Tensor } from '../api/types';
import { Facts, Figures } from './findings';
import {
  NOT_FINITE,
  changeOf,
  cosineText,
  countText,
  general,
  isComparable,
  notFinite,
  notFiniteText,
  percentText,
  plain,
  relativeText,
  relativeValue,
  shapeText,
  sizeText,
  storedAs
} from './format';
import { Message } from './message';
import type { Selected } from './session';
import { StatusMark } from './table';

/** Facts that have a place of their own above the list. */
const SHOWN = new Set(['type', 'shape', 'was called', 'values', 'changed', 'relative', 'largest', 'cosine']);

interface Props {
  tensor: Tensor | undefined;
  detail: Selected | null;
  /** What to do while no tensor is selected. */
  hint: string;
}

export function TensorDetail({ tensor, detail, hint }: Props): ReactElement {
  if (!tensor) {
    return (
      <section className="theta-tensor" data-testid="theta-tensor" data-name="" data-ready="false">
        <p className="theta-hint">{hint}</p>
      </section>
    );
  }
  const { answer, failure } = detail ?? { answer: null, failure: null };
  const isWaiting = !answer && !failure;
  return (
    <section
      className="theta-tensor"
      data-testid="theta-tensor"
      data-name={tensor.name}
      data-ready={answer !== null}
      aria-label="Selected tensor"
      aria-busy={isWaiting}
    >
      <h3>
        <StatusMark tensor={tensor} /> <span className="theta-name-whole">{plain(tensor.name)}</span>
      </h3>
      {tensor.old_name && <p className="theta-hint">was {plain(tensor.old_name)}</p>}
      <p className="theta-facts">
        <span>{changeOf(tensor.old_dtype, tensor.dtype)}</span>
        <span>{changeOf(tensor.old_shape ? shapeText(tensor.old_shape) : '', shapeText(tensor.shape))}</span>
        <span title={String(tensor.size)}>{countText(tensor.size)} parameters</span>
      </p>
      <Numbers tensor={tensor} isWaiting={isWaiting} />
      {failure && <Message {...failure} />}
      {isWaiting && (
        <p className="theta-hint theta-waiting" role="status">
          Measuring…
        </p>
      )}
      {answer && <Facts facts={answer.facts.filter(([label]) => !SHOWN.has(label))} />}
      {!answer && storedAs(tensor) && (
        <Facts facts={[['stored as', `${storedAs(tensor)}, ${sizeText(tensor.stored)}`]]} />
      )}
      {answer && <Figures figures={answer.figures} />}
    </section>
  );
}

/** The four numbers of a change; a dash until they are known. */
function Numbers({ tensor, isWaiting }: { tensor: Tensor; isWaiting: boolean }): ReactElement | null {
  if (!isComparable(tensor) || !tensor.status) {
    return null;
  }
  const { estimated, largest, cosine, changed } = tensor;
  const unknown = isWaiting ? '…' : '–';
  const relative = relativeValue(tensor);
  const numbers: [label: string, full: number | string | null, text: string][] = [
    notFinite(tensor) > 0
      ? ['relative', NOT_FINITE, notFiniteText(tensor)]
      : ['relative', relative, relativeText(relative, estimated)],
    ['largest', largest, largest === null ? unknown : general(largest, 2)],
    ['cosine', cosine, cosine === null ? unknown : cosineText(cosine)],
    ['values changed', changed, changed === null ? unknown : percentText(changed)]
  ];
  return (
    <dl className="theta-numbers">
      {numbers.map(([label, value, text]) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd title={value === null ? undefined : String(value)}>{text}</dd>
        </div>
      ))}
    </dl>
  );
}
