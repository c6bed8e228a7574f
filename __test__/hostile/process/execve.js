// A process that becomes another program stays in its VM.
// @outcome ok
process.execve('/bin/sh', ['sh', '-c', 'env; id; cat /proc/*/environ /proc/*/cmdline 2>/dev/null; ls /proc; echo ok'], { A: '1' });
