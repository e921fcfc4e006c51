/** What jsdom lacks: sizes, and scrolling; and what each test leaves behind. */
import { cleanup } from '@testing-library/react';
import { afterEach } from 'vitest';

import { leave } from './fakes';

/** Pixels of what scrolls, and of a row. */
const SIGHT = 560;
const ROW = 28;

Object.defineProperty(HTMLElement.prototype, 'offsetHeight', {
  get(this: HTMLElement): number {
    return this.classList.contains('theta-scroll') ? SIGHT : ROW;
  }
});
Object.defineProperty(HTMLElement.prototype, 'offsetWidth', { get: () => 320 });
// What is virtualised asks for these.
Object.defineProperty(Element.prototype, 'clientHeight', {
  get(this: Element): number {
    return this.classList.contains('theta-scroll') ? SIGHT : ROW;
  }
});
Object.defineProperty(Element.prototype, 'clientWidth', { get: () => 320 });

Element.prototype.scrollTo = function (this: Element, to?: ScrollToOptions | number): void {
  this.scrollTop = typeof to === 'object' ? (to.top ?? 0) : 0;
  this.dispatchEvent(new Event('scroll'));
};

afterEach(() => {
  cleanup();
  leave();
});
