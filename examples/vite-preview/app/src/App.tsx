import { useState } from 'react';
import logo from './logo.svg';

export function App() {
  const [count, setCount] = useState<number>(0);
  return (
    <main>
      <img src={logo} alt="" width="64" height="64" />
      <h1>Hello from a sandbox</h1>
      <p>Vite bundled this page inside a V8 isolate. It read files that only that isolate has.</p>
      <button type="button" onClick={() => setCount(count + 1)}>
        clicked {count} times
      </button>
    </main>
  );
}
