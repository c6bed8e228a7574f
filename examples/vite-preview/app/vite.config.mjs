// A configuration as anybody would write it. It knows nothing of where it runs.
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({ plugins: [react()] });
