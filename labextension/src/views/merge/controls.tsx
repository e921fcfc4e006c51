/**
 * What chooses a strategy, and the controls that its signature asks for.
 */
import { useId, type ReactElement } from 'react';

import type { Parameter, Strategy, Values } from '../../api/merge';
import { plain } from '../format';
import { Shape } from '../versions';
import type { Draft } from './session';
import { givenOf, strategyText, valueText } from './words';

const SIDES = ['ours', 'theirs', 'base'] as const;
/** A refusal longer than this does not fit into a menu. */
const MOST = 56;
/** What has more steps than this is no matter for a slider. */
const STEPS = 1000;

interface ChooserProps {
  label: string;
  strategies: readonly Strategy[];
  value: string;
  /** What stands there while nothing is chosen. */
  none: string;
  /** Why some do not apply. */
  refusals?: Record<string, string>;
  isPlain?: boolean;
  tabIndex?: number;
  onChoose: (strategy: string) => void;
}

export function StrategyChooser(props: ChooserProps): ReactElement {
  const { label, strategies, value, none, refusals = {}, isPlain = false, tabIndex, onChoose } = props;
  const groups: [label: string, members: Strategy[]][] = [
    ['take', SIDES.flatMap(side => strategies.filter(({ takes }) => takes === side))],
    ['combine', strategies.filter(({ takes }) => !takes)]
  ];
  const isKnown = !value || strategies.some(({ name }) => name === value);
  const chosen = strategies.find(({ name }) => name === value);
  return (
    <select
      className={`theta-strategy${isPlain ? ' theta-quiet' : ''}`}
      data-takes={chosen?.takes}
      data-chosen={value}
      aria-label={label}
      title={refusals[value] ?? chosen?.summary ?? label}
      value={value}
      tabIndex={tabIndex}
      onChange={event => onChoose(event.target.value)}
      onClick={event => event.stopPropagation()}
    >
      <option value="" disabled={isPlain}>
        {none}
      </option>
      {!isKnown && <option value={value}>{plain(value)}</option>}
      {groups.map(
        ([group, members]) =>
          members.length > 0 && (
            <optgroup key={group} label={group}>
              {members.map(strategy => {
                const { name, summary } = strategy;
                const refusal = refusals[name];
                const reason = refusal && plain(refusal.length > MOST ? `${refusal.slice(0, MOST)}…` : refusal);
                return (
                  <option key={name} value={name} disabled={Boolean(refusal)} title={refusal ?? summary}>
                    {plain(strategyText(strategy)) + (reason ? ` (${reason})` : '')}
                  </option>
                );
              })}
            </optgroup>
          )
      )}
    </select>
  );
}

/** Whether a strategy can do with what is given. */
export function isComplete({ strategy, parameters }: Draft, strategies: readonly Strategy[]): boolean {
  const needed = strategies.find(({ name }) => name === strategy)?.parameters ?? [];
  return strategy !== '' && needed.every(({ name, default: value }) => value !== null || !isMissing(parameters[name]));
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === '' || value === null;
}

interface ControlsProps {
  strategy: Strategy;
  given: Values;
  onChange: (given: Values) => void;
}

/** A control for each parameter. What is as it is by default, is not given. */
export function ParameterControls({ strategy, given, onChange }: ControlsProps): ReactElement | null {
  const set = (parameter: Parameter, value: unknown): void => {
    onChange(givenOf(strategy, { ...given, [parameter.name]: isMissing(value) ? parameter.default : value }));
  };
  return strategy.parameters.length ? (
    <div className="theta-parameters" data-testid="theta-parameters">
      {strategy.parameters.map(parameter => (
        <Control
          key={parameter.name}
          parameter={parameter}
          value={given[parameter.name] ?? parameter.default}
          onChange={value => set(parameter, value)}
        />
      ))}
    </div>
  ) : null;
}

interface ControlProps {
  parameter: Parameter;
  value: unknown;
  onChange: (value: unknown) => void;
}

function Control({ parameter, value, onChange }: ControlProps): ReactElement {
  const id = useId();
  return (
    <div className="theta-parameter" data-parameter={parameter.name} title={plain(parameter.help)}>
      <label htmlFor={id}>{plain(parameter.name)}</label>
      <span className="theta-control">
        <Field id={id} parameter={parameter} value={value} onChange={onChange} />
      </span>
    </div>
  );
}

function Field({ id, parameter, value, onChange }: ControlProps & { id: string }): ReactElement {
  const { kind, choices } = parameter;
  switch (kind) {
    case 'flag':
      return <input id={id} type="checkbox" checked={value === true} onChange={e => onChange(e.target.checked)} />;
    case 'choice':
      return (
        <select
          id={id}
          value={isMissing(value) ? '' : valueText(value)}
          onChange={event => onChange(event.target.value)}
        >
          {choices.map(choice => (
            <option key={choice} value={choice}>
              {plain(choice)}
            </option>
          ))}
        </select>
      );
    case 'checkpoints':
      return (
        <input
          id={id}
          type="text"
          spellCheck={false}
          placeholder="ours.safetensors, theirs.safetensors"
          value={isMissing(value) ? '' : valueText(value)}
          onChange={event => onChange(event.target.value)}
        />
      );
    case 'weights':
      return <WeightsField id={id} parameter={parameter} value={value} onChange={onChange} />;
    case 'number':
    case 'whole':
      return <NumberField id={id} parameter={parameter} value={value} onChange={onChange} />;
  }
}

/** A number: a slider where there are limits, and a box to be exact. */
function NumberField({ id, parameter, value, onChange, shape }: FieldProps): ReactElement {
  const { kind, low, high, name } = parameter;
  if (Array.isArray(value)) {
    // A plan may let a number change over the depth of the model; a text says so.
    return <input id={id} type="text" readOnly title="from the first block to the last" value={valueText(value)} />;
  }
  const range = low !== null && high !== null ? high - low : Infinity;
  const step = kind === 'whole' ? 1 : range <= 2 ? 0.05 : 0.1;
  const set = (text: string): void => onChange(text === '' ? undefined : Number(text));
  const limits = { min: low ?? undefined, max: high ?? undefined };
  return (
    <>
      {shape}
      {range / step <= STEPS && (
        <input
          type="range"
          aria-label={`${name}, as a slider`}
          {...limits}
          step={step}
          value={Number(value ?? low)}
          onChange={event => set(event.target.value)}
        />
      )}
      <input
        id={id}
        type="number"
        {...limits}
        step={kind === 'whole' ? 1 : 'any'}
        value={isMissing(value) ? '' : String(value)}
        onChange={event => set(event.target.value)}
      />
    </>
  );
}

interface FieldProps extends ControlProps {
  id: string;
  shape?: ReactElement;
}

/** A number for each side; one for both is given as one. */
function WeightsField({ id, parameter, value, onChange }: FieldProps): ReactElement {
  const given: unknown[] = typeof value === 'string' ? value.split(',').map(Number) : Array.isArray(value) ? value : [];
  const weights = [0, 1].map(index => given[index] ?? given[0] ?? value);
  const set = (index: number, weight: unknown): void => {
    const [ours = 0, theirs = 0] = weights.map((old, at) => Number((at === index ? weight : old) ?? 0));
    onChange(ours === theirs ? ours : [ours, theirs]);
  };
  return (
    <>
      {(['ours', 'theirs'] as const).map((side, index) => (
        <span key={side} className="theta-weight">
          <NumberField
            id={index ? `${id}-${index}` : id}
            parameter={{ ...parameter, name: `${parameter.name} of ${side}` }}
            value={weights[index]}
            onChange={weight => set(index, weight)}
            shape={<Shape version={side} isAlone />}
          />
        </span>
      ))}
    </>
  );
}
