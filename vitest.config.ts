import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    environment: 'jsdom',
    // What is virtualised draws as soon as it sees its element, and React only warns of that.
    onConsoleLog: log => !log.includes('flushSync was called from inside a lifecycle method'),
    include: ['labextension/tests/**/*.test.{ts,tsx}'],
    restoreMocks: true,
    setupFiles: ['labextension/tests/setup.ts']
  }
});
