import js from '@eslint/js';
import { defineConfig, globalIgnores } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig(
  globalIgnores(['.venv/', 'build/', 'labextension/lib/', 'theta_jupyter/labextension/']),
  js.configs.recommended,
  {
    files: ['labextension/src/**/*.{ts,tsx}'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // What is only a type must not pull a module into the bundle.
      '@typescript-eslint/consistent-type-imports': 'error',
      // A number in a message needs no ceremony.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }]
    }
  }
);
