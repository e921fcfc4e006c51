/**
 * A Plotly figure in React.
 *
 * Drawn anew whenever data, layout, size or theme change, and purged at the end; while it has no width (in a hidden
 * tab, or not yet attached) it waits. Ten thousand cells take Plotly a third of a second: the first drawing comes after
 * the page has shown all that is around it. Plotly owns what is inside the element, React never looks there.
 */
import { useEffect, useLayoutEffect, useRef, type ReactElement } from 'react';

import Plotly, { type PlotElement, type Point } from 'plotly.js-cartesian-dist-min';

import type { Range } from './state';
import { useTheme, type Theme } from './theme';

export interface PlotProps {
  data: object[];
  layout: object;
  height: number;
  label: string;
  onClick?: ((point: Point) => void) | undefined;
  onBrush?: ((range: Range) => void) | undefined;
}

type Handlers = Pick<PlotProps, 'onClick' | 'onBrush'>;

const CONFIG = { displaylogo: false, displayModeBar: false, responsive: false, showTips: false, doubleClick: false };

/** The page's colours, under whatever the figure says itself. */
function themed(layout: Record<string, unknown>, theme: Theme, height: number): object {
  const axis = { gridcolor: theme.grid, zerolinecolor: theme.grid, linecolor: theme.grid, automargin: true };
  const axes = Object.keys(layout).filter(key => /^[xy]axis\d*$/.test(key));
  const part = (key: string): object => layout[key] ?? {};
  return {
    ...layout,
    height,
    autosize: true,
    paper_bgcolor: 'rgba(0, 0, 0, 0)',
    plot_bgcolor: 'rgba(0, 0, 0, 0)',
    font: { size: 11, ...part('font'), color: theme.text, family: theme.font },
    hoverlabel: {
      align: 'left',
      ...part('hoverlabel'),
      bgcolor: theme.surface,
      bordercolor: theme.grid,
      font: { color: theme.text, family: theme.font, size: 12 }
    },
    margin: { l: 8, r: 8, t: 8, b: 8, ...part('margin') },
    ...Object.fromEntries([...new Set(['xaxis', 'yaxis', ...axes])].map(key => [key, { ...axis, ...part(key) }]))
  };
}

export function Plot({ data, layout, height, label, onClick, onBrush }: PlotProps): ReactElement {
  const ref = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  const handlers = useRef<Handlers>({});
  const drawing = useRef<Promise<unknown>>(Promise.resolve());
  useLayoutEffect(() => {
    handlers.current = { onClick, onBrush };
  });
  useEffect(() => {
    const element = ref.current;
    if (!element) {
      return;
    }
    let drawn = '';
    const draw = (): void => {
      if (element.clientWidth) {
        const first = !element.classList.contains('js-plotly-plot');
        // Plotly writes into what it is given.
        const copy = structuredClone(data);
        drawing.current = Plotly.react(element, copy, themed({ ...structuredClone(layout) }, theme, height), CONFIG);
        if (first) {
          listen(element as unknown as PlotElement, handlers);
        }
        drawn = `${element.clientWidth}`;
      }
    };
    let isDue = element.classList.contains('js-plotly-plot');
    let frame = 0;
    let next: ReturnType<typeof setTimeout> | undefined;
    if (isDue) {
      draw();
    } else {
      frame = requestAnimationFrame(() => {
        next = setTimeout(() => {
          isDue = true;
          draw();
        });
      });
    }
    const observer = new ResizeObserver(() => {
      if (isDue && drawn !== `${element.clientWidth}`) {
        requestAnimationFrame(draw);
      }
    });
    observer.observe(element);
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(next);
      observer.disconnect();
    };
  }, [data, layout, theme, height]);

  useEffect(() => {
    const element = ref.current;
    return () => {
      if (element) {
        // Not while Plotly is still at it: it would look for what is gone.
        void drawing.current.finally(() => Plotly.purge(element));
      }
    };
  }, []);

  return <div ref={ref} className="theta-plot" role="img" aria-label={label} style={{ height }} />;
}

function listen(element: PlotElement, handlers: { current: Handlers }): void {
  element.on('plotly_click', ({ points: [point] }) => {
    if (point) {
      handlers.current.onClick?.(point);
    }
  });
  element.on('plotly_selected', event => {
    if (event?.range) {
      const [a, b] = event.range.x;
      handlers.current.onBrush?.([Math.min(a, b), Math.max(a, b)]);
    }
  });
}
