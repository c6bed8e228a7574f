//! The classes that `lib/` builds on.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use napi::Env;
use napi::bindgen_prelude::{Buffer, BufferSlice, Function, Object, Result, Unknown};
use napi_derive::napi;
use secure_exec_runtime::api::ExecOptions;
use secure_exec_runtime::context::{Call, Context};
use secure_exec_runtime::host::HostError;
use secure_exec_runtime::kernel::{
    Errno, Image, PipeWriter, Terminal, Wake, WatchEvent, WatchKind, ends_by_default, pipe,
};
use secure_exec_runtime::latch::End;
use secure_exec_runtime::marshal::HostValue;
use secure_exec_runtime::plain::Plain;
use secure_exec_runtime::process::Control;
use secure_exec_runtime::vm::{OnDone, Vm, VmError};
use secure_exec_runtime::{code_cache, host_fs, host_pool};

use crate::adapter::AdapterNetwork;
use crate::events::{EventArgs, Gate, connect};
use crate::host_calls::{HostArgs, HostCalls};
use crate::network::{NativeNetwork, NetworkEventArgs, WAIT, call_error, counted};
use crate::options::{NativeExecOptions, NativeFile, NativeWindowSize, VmRequest};
use crate::outcome::number;

/// Separates code and message in an error's text; `lib/errors.ts` splits it there.
pub const CODE_END: char = '\u{0}';

pub fn failure(error: &VmError) -> napi::Error {
    napi::Error::from_reason(format!("{}{CODE_END}{error}", error.code()))
}

/// A file tree that many VMs start from. For the conformance runner.
#[napi]
pub struct NativeImage(Arc<Image>);

#[napi]
impl NativeImage {
    /// The standard tree with `files` added.
    #[napi(constructor)]
    pub fn new(files: Vec<NativeFile>) -> Result<Self> {
        let mut builder = Image::builder();
        for NativeFile { path, data, mode } in files {
            builder
                .file(&path, data.to_vec(), mode.unwrap_or(0o644))
                .map_err(|errno| {
                    napi::Error::from_reason(format!(
                        "{0}{CODE_END}{0}: {1}, open '{path}'",
                        errno.name(),
                        errno.message()
                    ))
                })?;
        }
        Ok(Self(builder.build()))
    }
}

/// Counters of a VM.
#[napi(object, object_from_js = false)]
pub struct NativeStats {
    /// Processes that live.
    pub processes: u32,
    /// Bytes in the VM's file system.
    pub filesystem_bytes: f64,
    /// Entries of the VM's file system.
    pub inodes: f64,
    /// Bytes of V8's heaps, as of their last collections.
    pub heap_bytes: f64,
    /// Bytes of buffers, WebAssembly memories and what bindings hold.
    pub external_bytes: f64,
    /// Open sockets.
    pub sockets: f64,
    /// Open connections.
    pub connections: f64,
    /// The cache of compiled code that all VMs share.
    pub code_cache: NativeCodeCache,
}

/// Counters of the cache of compiled code.
#[napi(object, object_from_js = false)]
pub struct NativeCodeCache {
    /// Sources whose code is kept.
    pub entries: f64,
    /// Bytes of it.
    pub bytes: f64,
    /// How often code was taken from it.
    pub hits: f64,
    /// Sources that are being compiled for it.
    pub waiting: f64,
}

/// What the host writes to.
enum Input {
    Pipe(PipeWriter),
    Terminal(Arc<Terminal>),
}

impl Input {
    fn write(&self, bytes: &[u8]) -> std::result::Result<usize, Errno> {
        match self {
            Self::Pipe(writer) => writer.write(bytes),
            Self::Terminal(terminal) => terminal.type_in(bytes),
        }
    }

    fn on_writable(&self, wake: Wake) {
        match self {
            Self::Pipe(writer) => writer.on_writable(wake),
            Self::Terminal(terminal) => terminal.on_room(wake),
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Self::Terminal(terminal) = self {
            terminal.hang_up();
        }
    }
}

/// One process.
#[napi]
pub struct NativeProcess {
    vm: Weak<Vm>,
    control: Arc<Control>,
    gate: Arc<Gate>,
    stdin: Mutex<Option<Input>>,
    on_stdin: Arc<dyn Fn() + Send + Sync>,
}

#[napi]
impl NativeProcess {
    /// Ends it with reason `aborted`.
    #[napi]
    pub fn abort(&self) {
        self.control.kill(End::Aborted);
    }

    /// Sends it a signal; see `kill(2)`.
    #[napi]
    pub fn kill(&self, signal: i32) -> Result<()> {
        let Some(vm) = self.vm.upgrade() else {
            return Ok(());
        };
        let kernel = vm.kernel();
        match i32::try_from(self.control.pid()) {
            // It has no process yet that could catch it.
            Ok(0) | Err(_) if ends_by_default(signal) => self.control.kill(End::Signal(signal)),
            Ok(0) | Err(_) => {}
            Ok(pid) => match kernel.kill(kernel.host(), pid, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => return Err(call_error(errno, "kill")),
            },
        }
        Ok(())
    }

    /// Lets no more output come, or lets it come again; a guest that writes waits.
    #[napi]
    pub fn hold_output(&self, held: bool) {
        self.gate.hold(held);
    }

    /// Writes to its standard input from `buffer`, from `offset` on. Answers how much, or -1 while there is no room;
    /// then the callback gets `(4)` once.
    #[napi]
    pub fn write_stdin(&self, buffer: BufferSlice<'_>, offset: u32) -> Result<i32> {
        let stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(writer) = &*stdin else {
            return Err(call_error(Errno::EPIPE, "write"));
        };
        match writer.write(buffer.get(offset as usize..).unwrap_or_default()) {
            Ok(bytes) => Ok(counted(bytes)),
            Err(Errno::EAGAIN) => {
                let on_stdin = self.on_stdin.clone();
                writer.on_writable(Box::new(move || on_stdin()));
                Ok(WAIT)
            }
            Err(errno) => Err(call_error(errno, "write")),
        }
    }

    /// Changes the size of its terminal, if it has one.
    #[napi]
    pub fn resize(&self, columns: u32, rows: u32) {
        let stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        let terminal = match &*stdin {
            Some(Input::Terminal(terminal)) => terminal.clone(),
            _ => return,
        };
        drop(stdin);
        terminal.resize(NativeWindowSize { columns, rows }.into());
    }

    /// Ends its standard input; a terminal hangs up. Idempotent.
    #[napi]
    pub fn end_stdin(&self) {
        let writer = self
            .stdin
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A guest that waits is woken now; not under the lock.
        drop(writer);
    }
}

/// JavaScript state that is kept from call to call.
#[napi]
pub struct NativeContext(Context);

#[napi]
impl NativeContext {
    /// Runs a piece of code; see `NativeVm.exec`. Its value takes the place of exports.
    #[napi]
    pub fn call(
        &self,
        options: NativeExecOptions,
        callback: Function<'_, EventArgs, Unknown<'static>>,
    ) -> Result<NativeProcess> {
        start(
            options,
            &callback,
            Purpose::Result,
            Weak::new(),
            |exec, done| {
                let ExecOptions {
                    code,
                    want,
                    cpu,
                    wall,
                    capture_bytes,
                    on_output,
                    ..
                } = exec;
                self.0.call(
                    Call {
                        code,
                        want,
                        cpu,
                        wall,
                        capture_bytes,
                        on_output,
                    },
                    done,
                )
            },
        )
    }

    /// Whether its isolate has ended.
    #[napi(getter)]
    pub fn is_gone(&self) -> bool {
        self.0.is_gone()
    }

    /// Ends its isolate; what runs ends with reason `disposed`.
    #[napi]
    pub fn end(&self) {
        self.0.end(&End::Disposed);
    }
}

/// What the host wants of a program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Its outcome.
    Result,
    /// To use it while it runs.
    Interaction,
}

/// Starts something with its ways up connected to `callback`.
fn start(
    options: NativeExecOptions,
    callback: &Function<'_, EventArgs, Unknown<'static>>,
    purpose: Purpose,
    vm: Weak<Vm>,
    run: impl FnOnce(ExecOptions, OnDone) -> std::result::Result<Arc<Control>, VmError>,
) -> Result<NativeProcess> {
    let stream_output = options.stream_output;
    let mut exec = options.into_exec()?;
    let ways = connect(callback)?;
    if stream_output {
        exec.on_output = Some(ways.on_output);
    }
    let mut stdin = None;
    if purpose == Purpose::Interaction {
        exec.on_start = Some(ways.on_start);
        if let Some(terminal) = &exec.terminal {
            stdin = Some(Input::Terminal(terminal.clone()));
        } else if exec.stdin.is_empty() {
            let (reader, writer) = pipe();
            exec.stdin_pipe = Some(reader);
            stdin = Some(Input::Pipe(writer));
        }
    }
    let control = run(exec, ways.on_done).map_err(|error| failure(&error))?;
    ways.gate.bind(&control);
    Ok(NativeProcess {
        vm,
        control,
        gate: ways.gate,
        stdin: Mutex::new(stdin),
        on_stdin: ways.on_stdin,
    })
}

/// Why the host has no value to give.
#[napi(object, object_to_js = false)]
pub struct NativeHostError {
    /// The error's class.
    pub name: String,
    /// Its message.
    pub message: String,
    /// Its code.
    pub code: Option<String>,
}

/// Says that a VM is about to be made.
#[napi]
pub fn get_ready() {
    secure_exec_runtime::pool::get_ready();
}

/// One VM.
#[napi]
pub struct NativeVm(Arc<Vm>, Option<Arc<HostCalls>>, Option<Arc<AdapterNetwork>>);

#[napi]
impl NativeVm {
    /// A VM without processes. `options` are those of [`VmRequest`] as JSON; `snapshot` holds tar archives to start from, each
    /// laid over those before it, and `files` what is written then. `host` gets `(id, kind, target, payload)` for each question of a guest, which `answer`
    /// answers.
    #[napi(constructor)]
    pub fn new(
        options: String,
        snapshot: Vec<Buffer>,
        files: Vec<NativeFile>,
        image: Option<&NativeImage>,
        host: Option<Function<'_, HostArgs, Unknown<'static>>>,
    ) -> Result<Self> {
        let request = VmRequest::read(options)?;
        if let Some(bytes) = request.code_cache_bytes {
            code_cache::set_max_bytes(bytes);
        }
        let has_adapter = request.has_adapter;
        let mut options = request.into_options();
        options.snapshot = snapshot.iter().map(|archive| archive.to_vec()).collect();
        options.files = files
            .into_iter()
            .map(|NativeFile { path, data, .. }| (path, data.to_vec()))
            .collect();
        let adapter = has_adapter.then(|| {
            let ports = options.exempt_ports.clone();
            Arc::new(AdapterNetwork::new(options.egress.take(), ports))
        });
        if let Some(adapter) = adapter.clone() {
            options.egress = Some(adapter);
        }
        options.image = image.map(|image| image.0.clone());
        let host = host.map(|host| HostCalls::connect(&host)).transpose()?;
        options.host = host.clone().map(|host| host as _);
        Vm::new(options)
            .map(|vm| Self(vm, host, adapter))
            .map_err(|error| failure(&error))
    }

    /// Answers question `id`: with a value, encoded, or with an error.
    #[napi]
    pub fn answer(&self, id: f64, value: Option<Buffer>, error: Option<NativeHostError>) {
        let answer = match (value, error) {
            (Some(value), None) => Ok(HostValue::from_bytes(value.to_vec())),
            (_, error) => Err(error
                .map(
                    |NativeHostError {
                         name,
                         message,
                         code,
                     }| HostError {
                        name,
                        message,
                        code,
                    },
                )
                .unwrap_or_default()),
        };
        if let Some(host) = &self.1 {
            host.answer(crate::options::count(id), answer);
        }
    }

    /// Tells those who watch a file system of the host's JavaScript, under the number that its `watch` got.
    #[napi]
    pub fn tell_watchers(&self, number: u32, is_rename: bool, name: String) {
        let event = WatchEvent {
            kind: if is_rename {
                WatchKind::Rename
            } else {
                WatchKind::Change
            },
            name: name.into_bytes().into(),
        };
        self.0.listeners().tell(number, event);
    }

    /// Gives processes that start from now on these functions of the host.
    #[napi]
    pub fn add_host_functions(&self, names: Vec<String>) {
        self.0.add_host_functions(names);
    }

    /// Starts a program. `callback` gets `(0 | 1, bytes)` for output and at last `(2, outcome)`.
    #[napi]
    pub fn exec(
        &self,
        options: NativeExecOptions,
        callback: Function<'_, EventArgs, Unknown<'static>>,
    ) -> Result<NativeProcess> {
        start(
            options,
            &callback,
            Purpose::Result,
            Arc::downgrade(&self.0),
            |exec, done| self.0.exec(exec, done),
        )
    }

    /// Starts a program that is used while it runs: `callback` gets `(3, null, pid)`, output, and at last `(2, outcome)`.
    /// Unless `options` say what its standard input holds, that is a pipe.
    #[napi]
    pub fn spawn(
        &self,
        options: NativeExecOptions,
        callback: Function<'_, EventArgs, Unknown<'static>>,
    ) -> Result<NativeProcess> {
        start(
            options,
            &callback,
            Purpose::Interaction,
            Arc::downgrade(&self.0),
            |exec, done| self.0.exec(exec, done),
        )
    }

    /// The way to guests' servers; `callback` gets `(id, kind, listener)`.
    #[napi]
    pub fn network(
        &self,
        callback: Function<'_, NetworkEventArgs, Unknown<'static>>,
    ) -> Result<NativeNetwork> {
        NativeNetwork::new(self.0.clone(), self.2.clone(), &callback)
    }

    /// A context; `options` give its environment, directory and arguments.
    #[napi]
    pub fn create_context(&self, options: NativeExecOptions) -> Result<NativeContext> {
        self.0
            .context(options.into_exec()?)
            .map(NativeContext)
            .map_err(|error| failure(&error))
    }

    /// Writes a file and its parents.
    #[napi]
    pub fn write_file(&self, path: String, data: Buffer) -> Result<()> {
        self.0
            .write_file(&path, &data)
            .map_err(|error| failure(&error))
    }

    /// The host's own use of files and mounts: a request and its answer, encoded. Never waits on this thread.
    #[napi(ts_return_type = "Promise<Buffer>")]
    pub fn file_system<'env>(&self, env: &'env Env, request: Buffer) -> Result<Object<'env>> {
        let (deferred, promise) = env.create_deferred::<Buffer, _>()?;
        let vm = self.0.clone();
        let request = HostValue::from_bytes(request.to_vec());
        host_pool::run(move || {
            let answer = match Plain::decode(&request) {
                Ok(request) => host_fs::perform(&vm, &request).encode(),
                Err(error) => {
                    return deferred.reject(napi::Error::from_reason(error.to_string()));
                }
            };
            deferred.resolve(move |_| Ok(answer.into_bytes().into()));
        });
        Ok(promise)
    }

    /// Ends every process with reason `aborted`.
    #[napi]
    pub fn terminate(&self) {
        self.0.terminate(&End::Aborted);
    }

    /// Ends every process with reason `disposed` and refuses new ones.
    #[napi]
    pub fn dispose(&self) {
        self.0.dispose();
        if let Some(host) = &self.1 {
            host.close();
        }
    }

    /// Lets go of the files, once everything has ended: JavaScript may hold this object for long.
    #[napi]
    pub fn forget_files(&self) {
        self.0.forget_files();
    }

    /// Counters.
    #[napi]
    pub fn stats(&self) -> NativeStats {
        let usage = self.0.kernel().usage();
        let code = code_cache::usage();
        let memory = self.0.memory();
        let (sockets, connections) = self.0.kernel().open_sockets();
        NativeStats {
            processes: u32::try_from(self.0.process_count()).unwrap_or(u32::MAX),
            filesystem_bytes: number(usage.filesystem_bytes),
            inodes: number(usage.inodes),
            heap_bytes: number(memory.heap as u64),
            external_bytes: number(memory.external.saturating_add(memory.native) as u64),
            sockets: number(sockets),
            connections: number(connections),
            code_cache: NativeCodeCache {
                entries: number(code.entries as u64),
                bytes: number(code.bytes as u64),
                hits: number(code.hits),
                waiting: number(code.waiting as u64),
            },
        }
    }
}

impl Drop for NativeVm {
    fn drop(&mut self) {
        self.dispose();
    }
}
