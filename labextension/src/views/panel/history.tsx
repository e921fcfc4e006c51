/**
 * Commits as a graph, and one of them whole. However many there are, only those in sight are drawn.
 */
import { defaultRangeExtractor, useVirtualizer, type Range } from '@tanstack/react-virtual';
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, type ReactElement } from 'react';

import type { Commit, Ref } from '../../api/panel';
import { plain, sizeText } from '../format';
import { useWords, type Actions } from './actions';
import { breadth, lanesOf, type Lanes } from './graph';
import { Miniature } from './miniature';
import { useRows } from './section';
import type { PanelSession, Snapshot } from './session';
import { ago, whole } from './time';

/** Pixels. */
const ROW = 28;
const LANE = 12;
/** More lanes than these have no room. */
const MOST_LANES = 8;
const COLOURS = 6;
/** Older commits are asked for when so many are left below. */
const AHEAD = 20;

interface Props {
  snapshot: Snapshot;
  session: PanelSession;
  actions: Actions;
  /** What scrolls. */
  scroller: HTMLElement | null;
}

export function History({ snapshot, session, actions, scroller }: Props): ReactElement {
  const { commits, head, shown, comparing, more, isStuck, hasHistory } = snapshot;
  const { __ } = useWords();
  const list = useRef<HTMLDivElement>(null);
  const lanes = useMemo(() => lanesOf(commits), [commits]);
  const wide = useMemo(() => breadth(lanes, MOST_LANES), [lanes]);
  const [margin, setMargin] = useState(0);
  const rows = useRows(commits.length, index => virtual.scrollToIndex(index));
  const { at } = rows;
  const virtual = useVirtualizer({
    count: commits.length,
    getScrollElement: () => scroller,
    estimateSize: () => ROW,
    getItemKey: index => commits[index]?.id ?? index,
    overscan: 8,
    // The row that Tab leads to is drawn wherever one has scrolled to, or no key would lead into the list.
    rangeExtractor: useCallback(
      (range: Range) => {
        const drawn = defaultRangeExtractor(range);
        return drawn.includes(at) || at >= range.count ? drawn : [at, ...drawn].sort((a, b) => a - b);
      },
      [at]
    ),
    scrollMargin: margin
  });
  // Where the list begins depends on whatever stands above; it is set only when it has moved.
  // eslint-disable-next-line react-hooks/exhaustive-deps -- what stands above may change at any time
  useLayoutEffect(() => {
    const inner = list.current;
    if (inner && scroller) {
      const top = inner.getBoundingClientRect().top - scroller.getBoundingClientRect().top + scroller.scrollTop;
      setMargin(last => (Math.abs(last - top) > 0.5 ? top : last));
    }
  });
  const items = virtual.getVirtualItems();
  const last = virtual.range?.endIndex ?? 0;
  useEffect(() => {
    if (more && !isStuck && last > commits.length - AHEAD) {
      void session.more();
    }
  }, [more, isStuck, last, commits.length, session]);
  if (hasHistory && commits.length === 0) {
    return <p className="theta-hint">{__('No commit yet.')}</p>;
  }
  return (
    <>
      {comparing && (
        <p className="theta-notice" role="status">
          {__('Click the commit to compare %1 with.', comparing.slice(0, 7))}{' '}
          <button type="button" className="theta-link" onClick={() => session.compare('')}>
            {__('Never mind')}
          </button>
        </p>
      )}
      {/* eslint-disable-next-line jsx-a11y/no-static-element-interactions -- keys go from row to row */}
      <div ref={list} className="theta-history" style={{ height: virtual.getTotalSize() }} onKeyDown={rows.onKeyDown}>
        {items.map(({ index, key, start }) => {
          const commit = commits[index];
          const of = lanes[index];
          if (!commit || !of) {
            return null;
          }
          return (
            <div
              key={key}
              ref={virtual.measureElement}
              data-index={index}
              data-row={index}
              className="theta-history-place"
              style={{ transform: `translateY(${start - margin}px)` }}
              onFocus={() => rows.setAt(index)}
            >
              <Row
                {...{ commit, session, actions }}
                lanes={of}
                wide={wide}
                isHead={commit.id === head}
                isShown={commit.id === shown}
                isCompared={commit.id === comparing}
                isAt={index === rows.at}
              />
            </div>
          );
        })}
      </div>
      {more && !isStuck && <p className="theta-hint">{__('Loading older commits…')}</p>}
      {more && isStuck && (
        <p className="theta-hint">
          {__('Older commits could not be loaded.')}{' '}
          <button type="button" className="theta-link" onClick={() => void session.more()}>
            {__('Try again')}
          </button>
        </p>
      )}
    </>
  );
}

interface RowProps {
  commit: Commit;
  lanes: Lanes;
  wide: number;
  isHead: boolean;
  isShown: boolean;
  isCompared: boolean;
  isAt: boolean;
  session: PanelSession;
  actions: Actions;
}

function Row({ commit, lanes, wide, isHead, isShown, isCompared, isAt, session, actions }: RowProps): ReactElement {
  const words = useWords();
  const { id, subject, author, date, refs, miniatures } = commit;
  const [first] = miniatures;
  return (
    <>
      <button
        type="button"
        className={`theta-line theta-commit-row${isCompared ? ' theta-compared' : ''}`}
        data-testid="theta-history-row"
        data-id={id}
        data-main
        tabIndex={isAt ? 0 : -1}
        aria-expanded={isShown}
        title={[subject, ...refs.map(({ name }) => name), `${author}, ${whole(date)}`, id.slice(0, 12)]
          .map(plain)
          .join('\n')}
        onClick={() => session.show(id)}
      >
        <Graph lanes={lanes} wide={wide} isHead={isHead} isMerge={commit.parents.length > 1} />
        {refs.length > 0 && (
          <span className="theta-refs">
            {refs.map(ref => (
              <Chip key={`${ref.kind}:${ref.name}`} of={ref} />
            ))}
          </span>
        )}
        <span className="theta-subject">{plain(subject)}</span>
        {first && <Miniature of={first} />}
        <span className="theta-line-note">{ago(date, words)}</span>
      </button>
      {isShown && (
        <div className="theta-below" style={{ paddingInlineStart: wide * LANE + 8 }}>
          <Passing lanes={lanes} wide={wide} />
          <Whole {...{ commit, session, actions }} />
        </div>
      )}
    </>
  );
}

function Chip({ of: { name, kind, current } }: { of: Ref }): ReactElement {
  const looks = current ? 'theta-ref-current' : `theta-ref-${kind}`;
  return (
    <span className={`theta-ref ${looks}`} title={plain(name)}>
      {plain(name)}
    </span>
  );
}

interface GraphProps {
  lanes: Lanes;
  wide: number;
  isHead: boolean;
  isMerge: boolean;
}

function Graph({ lanes, wide, isHead, isMerge }: GraphProps): ReactElement {
  const { lane, through, into, out } = lanes;
  const middle = ROW / 2;
  const bend = (from: number, to: number, top: number, bottom: number): string =>
    from === to
      ? `M${x(from)} ${top}V${bottom}`
      : `M${x(from)} ${top}C${x(from)} ${(top + bottom) / 2} ${x(to)} ${(top + bottom) / 2} ${x(to)} ${bottom}`;
  return (
    <svg className="theta-graph" width={wide * LANE} height={ROW} aria-hidden="true">
      {through.map(other => (
        <path key={`through ${other}`} className={colour(other)} d={bend(other, other, 0, ROW)} />
      ))}
      {into.map(other => (
        <path key={`into ${other}`} className={colour(other)} d={bend(other, lane, 0, middle)} />
      ))}
      {out.map(other => (
        <path key={`out ${other}`} className={colour(other)} d={bend(lane, other, middle, ROW)} />
      ))}
      <circle
        className={`${colour(lane)}${isHead ? ' theta-head' : ''}`}
        cx={x(lane)}
        cy={middle}
        r={isHead ? 5 : isMerge ? 3 : 4}
      />
    </svg>
  );
}

/** The lines that go on beside a commit that is shown whole. */
function Passing({ lanes: { through, out }, wide }: { lanes: Lanes; wide: number }): ReactElement {
  return (
    <svg className="theta-passing" width={wide * LANE} aria-hidden="true">
      {[...new Set([...through, ...out])].map(lane => (
        <line key={lane} className={colour(lane)} x1={x(lane)} x2={x(lane)} y1="0" y2="100%" />
      ))}
    </svg>
  );
}

function x(lane: number): number {
  return Math.min(lane, MOST_LANES - 1) * LANE + LANE / 2;
}

function colour(lane: number): string {
  return `theta-lane-${lane % COLOURS}`;
}

interface WholeProps {
  commit: Commit;
  session: PanelSession;
  actions: Actions;
}

function Whole({ commit, session, actions }: WholeProps): ReactElement {
  const { __ } = useWords();
  const { id, body, author, date, parents, models, miniatures, stored, derived_from, merged_by } = commit;
  const short = id.slice(0, 7);
  const insert = (path: string): void => {
    const code = `from theta_jupyter import load\n\ntensors = load(${JSON.stringify(path)}, ref="${id.slice(0, 12)}")`;
    if (!actions.insertCode(code)) {
      actions.notify(__('There is no notebook in front to put it into.'), 'info');
    }
  };
  return (
    <div className="theta-whole-commit" data-testid="theta-commit-details">
      <p className="theta-hint">
        {plain(author)}, {whole(date)}
        <br />
        <code>{id}</code>
      </p>
      {body && <p className="theta-body">{body.split('\n').map(plain).join('\n')}</p>}
      {models.map(path => {
        const drawn = miniatures.find(miniature => miniature.path === path);
        return (
          <div key={path} className="theta-model-line">
            <span className="theta-path" title={plain(path)}>
              {plain(path)}
            </span>
            {drawn && <Miniature of={drawn} />}
            <div className="theta-buttons">
              <button type="button" onClick={() => void session.restore(id, path)}>
                {__('Check out this model')}
              </button>
              <button type="button" onClick={() => insert(path)}>
                {__('Insert loading code')}
              </button>
            </div>
          </div>
        );
      })}
      {models.length > 0 && <p className="theta-hint">{__('stored %1', sizeText(stored))}</p>}
      {derived_from.map(source => (
        <p key={source} className="theta-hint theta-wrap">
          {__('made from %1', plain(source))}
        </p>
      ))}
      {merged_by.map(rule => (
        <p key={rule} className="theta-hint theta-wrap">
          {__('merged by %1', plain(rule))}
        </p>
      ))}
      <div className="theta-buttons">
        <button type="button" onClick={() => actions.openDiff({ old: parents[0] ?? '', new: id })}>
          {__('Diff with parent')}
        </button>
        <button type="button" onClick={() => actions.openDiff({ old: id, new: '' })}>
          {__('Diff with work tree')}
        </button>
        <button type="button" onClick={() => session.compare(id)}>
          {__('Compare with…')}
        </button>
        <button type="button" onClick={() => void session.createBranch(id)}>
          {__('New branch from here…')}
        </button>
        <button type="button" onClick={() => actions.copy(id)}>
          {__('Copy id %1', short)}
        </button>
      </div>
    </div>
  );
}
