/**
 * Colours of the page around us, for what CSS cannot reach: Plotly draws with colours, not with variables.
 *
 * They are read from the variables our style sheet defines, at draw time, and again whenever the page may have changed
 * its theme: JupyterLab and VS Code say so on the body, others on the root element, and the system has its own switch.
 */
import { createContext, useContext, useEffect, useState, type RefObject } from 'react';

export interface Theme {
  text: string;
  muted: string;
  grid: string;
  surface: string;
  brand: string;
  font: string;
}

const UNKNOWN: Theme = {
  text: 'gray',
  muted: 'gray',
  grid: 'rgba(128, 128, 128, 0.25)',
  surface: 'white',
  brand: '#1976d2',
  font: 'sans-serif'
};

export const ThemeContext = createContext<Theme>(UNKNOWN);

export function useTheme(): Theme {
  return useContext(ThemeContext);
}

/** The theme at an element, kept up to date. */
export function useThemeOf(ref: RefObject<HTMLElement>): Theme | null {
  const [theme, setTheme] = useState<Theme | null>(null);
  useEffect(() => {
    const update = (): void => {
      const found = ref.current && read(ref.current);
      setTheme(last => (found && JSON.stringify(found) !== JSON.stringify(last) ? found : last));
    };
    let timers: ReturnType<typeof setTimeout>[] = [];
    const later = (): void => {
      timers.forEach(clearTimeout);
      // Once at once, and once when a style sheet that was asked for has come.
      timers = [0, 300].map(delay => setTimeout(update, delay));
    };
    update();
    const observer = new MutationObserver(later);
    const attributes = ['class', 'style', 'theme', 'data-theme', 'data-jp-theme-name', 'data-jp-theme-light'];
    for (const element of [document.body, document.documentElement]) {
      observer.observe(element, { attributes: true, attributeFilter: attributes });
    }
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', later);
    return () => {
      timers.forEach(clearTimeout);
      observer.disconnect();
      dark.removeEventListener('change', later);
    };
  }, [ref]);
  return theme;
}

/** Variables are resolved by letting the browser apply them, and colours by letting it paint them: themes may mix. */
function read(element: HTMLElement): Theme {
  const probe = document.createElement('span');
  probe.hidden = true;
  element.append(probe);
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const colour = (variable: string, share = 1): string => {
    probe.style.color = `var(${variable})`;
    if (!canvas) {
      return getComputedStyle(probe).color;
    }
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    const [red = 0, green = 0, blue = 0, alpha = 255] = canvas.getImageData(0, 0, 1, 1).data;
    return `rgba(${red}, ${green}, ${blue}, ${((alpha / 255) * share).toFixed(3)})`;
  };
  const theme = {
    text: colour('--theta-text'),
    muted: colour('--theta-muted'),
    // Quieter than the lines of forms and tables.
    grid: colour('--theta-text', 0.15),
    surface: colour('--theta-surface'),
    brand: colour('--theta-brand'),
    font: getComputedStyle(element).fontFamily
  };
  probe.remove();
  return theme;
}
