import concurrently from 'concurrently';

const { result } = concurrently(
  [
    { name: 'one', command: 'printf "b\\nc\\na\\n" | sort -r' },
    { name: 'two', command: 'echo second && exit 3' },
  ],
  { maxProcesses: 1, prefixColors: [], outputStream: process.stdout },
);
await result.catch((events) => {
  for (const { command, index, exitCode, killed } of events) console.log(command.name, index, exitCode, killed);
});
