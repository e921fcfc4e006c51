import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import a11y from 'eslint-plugin-jsx-a11y';
import hooks from 'eslint-plugin-react-hooks';
import tseslint from 'typescript-eslint';

export default defineConfig(
  globalIgnores([
    '.venv/',
    '.venv-oldest/',
    'build/',
    'labextension/lib/',
    'theta_jupyter/labextension/',
    'theta_jupyter/static/'
  ]),
  js.configs.recommended,
  {
    files: ['labextension/{src,tests}/**/*.{ts,tsx}'],
    extends: [
      tseslint.configs.strictTypeChecked,
      tseslint.configs.stylisticTypeChecked,
      a11y.flatConfigs.recommended,
      hooks.configs.flat.recommended
    ],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // What is only a type must not pull a module into the bundle.
      '@typescript-eslint/consistent-type-imports': 'error',
      // A handler may be an arrow that passes on what it calls.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // A number in a message needs no ceremony.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // It warns of libraries that React's compiler cannot cope with; we do not use it.
      'react-hooks/incompatible-library': 'off'
    }
  },
  {
    // Runs in the browser as it stands.
    files: ['theta_jupyter/jupyter/loader.js'],
    languageOptions: {
      globals: { Blob: 'readonly', URL: 'readonly', clearTimeout: 'readonly', setTimeout: 'readonly' }
    }
  }
);
