/**
 * The scoreboard of a merge: plans that were tried, the score of each beside those of the parents, and "use this".
 */
import { useSyncExternalStore, type ReactElement } from 'react';

import type { Board, Scored } from '../../api/board';
import { general, plain } from '../format';
import { Frame } from '../frame';
import { Message } from '../message';
import { Plot } from '../plot';
import { Shape, versionOf } from '../versions';
import type { BoardSession, Snapshot } from './session';

export function BoardView({ session }: { session: BoardSession }): ReactElement {
  const snapshot = useSyncExternalStore(session.subscribe, session.get);
  const { board, failure } = snapshot;
  return (
    <Frame testId="theta-board" isDone={board !== null} failure={failure}>
      {board && <Scores board={board} snapshot={snapshot} session={session} />}
    </Frame>
  );
}

interface Props {
  board: Board;
  snapshot: Snapshot;
  session: BoardSession;
}

function Scores({ board, snapshot, session }: Props): ReactElement {
  const { title, rows, higher_is_better, figure, note } = board;
  const share = scaleOf(rows);
  const canUse = board.can_use || board.used !== null;
  return (
    <>
      <header className="theta-summary">
        <div className="theta-title">
          <h2>{plain(title)}</h2>
          <span className="theta-hint">{higher_is_better ? 'higher is better' : 'lower is better'}</span>
        </div>
      </header>
      {snapshot.problem && <Message {...snapshot.problem} />}
      <table className="theta-values theta-scores" data-testid="theta-scores">
        <thead>
          <tr>
            <th scope="col">plan</th>
            <th scope="col" className="theta-number">
              score
            </th>
            <th scope="col" aria-label="score as a bar" />
            <th scope="col" className="theta-number">
              seconds
            </th>
            {canUse && <th scope="col" aria-label="use" />}
          </tr>
        </thead>
        <tbody>
          {rows.map(row => (
            <ScoreRow
              key={`${row.kind} ${row.index} ${row.label}`}
              {...{ row, board, snapshot, session, canUse }}
              width={share(row.score)}
            />
          ))}
        </tbody>
      </table>
      {note && <p className="theta-hint">{plain(note)}</p>}
      {figure && (
        <Plot
          data={figure.data}
          layout={figure.layout}
          height={(figure.layout as { height?: number }).height ?? 240}
          label={plain(title)}
        />
      )}
    </>
  );
}

interface RowProps extends Props {
  row: Scored;
  width: number;
  canUse: boolean;
}

function ScoreRow({ row, width, board, snapshot, session, canUse }: RowProps): ReactElement {
  const { label, kind, score, failed, seconds, best, index } = row;
  const side = kind === 'parent' ? (versionOf(label) ?? 'base') : 'result';
  const isUsed = kind === 'candidate' && board.used === index;
  return (
    <tr className={kind === 'parent' ? 'theta-parent' : undefined} data-score={index} data-best={best}>
      <td title={plain(label)}>
        <Shape version={side} /> {plain(label)}
      </td>
      {failed ? (
        <td colSpan={2} className="theta-failed" title={plain(failed)}>
          failed: {plain(failed)}
        </td>
      ) : (
        <>
          <td className="theta-number" title={score === null ? undefined : String(score)}>
            {best && (
              <span role="img" aria-label="best" title="best">
                ★{' '}
              </span>
            )}
            {score === null ? '' : general(score, 4)}
          </td>
          <td className="theta-track">
            <span className={`theta-bar theta-${side}`} style={{ width: `${100 * width}%` }} />
          </td>
        </>
      )}
      <td className="theta-number">{seconds === null ? '' : general(seconds, 2)}</td>
      {canUse && (
        <td className="theta-use">
          {isUsed ? (
            <span>
              <span className="theta-result">✓</span> in use
            </span>
          ) : (
            kind === 'candidate' &&
            !failed && (
              <button
                type="button"
                data-testid="theta-use"
                disabled={!board.can_use || snapshot.using !== null}
                title={`Make ${plain(label)} the plan of the merge`}
                aria-label={`Use ${plain(label)}`}
                onClick={() => void session.use(index)}
              >
                {snapshot.using === index ? 'Taking…' : 'Use this'}
              </button>
            )
          )}
        </td>
      )}
    </tr>
  );
}

/** How long bars are: from a little below the least score, so that near ones can be told apart. */
function scaleOf(rows: readonly Scored[]): (score: number | null) => number {
  const scores = rows.flatMap(({ score }) => (score === null ? [] : [score]));
  const [least, most] = [Math.min(...scores), Math.max(...scores)];
  const low = least - 0.2 * (most - least);
  return score => (score === null || !scores.length ? 0 : most > low ? (score - low) / (most - low) : 1);
}
