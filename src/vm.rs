//! The classes that `lib/` builds on.

use std::sync::Arc;

use napi::bindgen_prelude::{Buffer, Function, Result, Unknown};
use napi_derive::napi;
use secure_exec_runtime::api::ExecOptions;
use secure_exec_runtime::context::{Call, Context};
use secure_exec_runtime::kernel::Image;
use secure_exec_runtime::latch::End;
use secure_exec_runtime::process::Control;
use secure_exec_runtime::vm::{OnDone, Vm, VmError};

use crate::events::{EventArgs, connect};
use crate::options::{NativeExecOptions, NativeFile, NativeVmOptions};
use crate::outcome::number;

/// Separates code and message in an error's text; `lib/errors.ts` splits it there.
const CODE_END: char = '\u{0}';

fn failure(error: &VmError) -> napi::Error {
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
        for NativeFile { path, data } in files {
            builder.file(&path, data.to_vec(), 0o644).map_err(|errno| {
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
}

/// One process.
#[napi]
pub struct NativeProcess(Arc<Control>);

#[napi]
impl NativeProcess {
    /// Ends it with reason `aborted`.
    #[napi]
    pub fn abort(&self) {
        self.0.kill(End::Aborted);
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
        start(options, &callback, |exec, done| {
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
        })
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

/// Starts something with its ways up connected to `callback`.
fn start(
    options: NativeExecOptions,
    callback: &Function<'_, EventArgs, Unknown<'static>>,
    run: impl FnOnce(ExecOptions, OnDone) -> std::result::Result<Arc<Control>, VmError>,
) -> Result<NativeProcess> {
    let stream_output = options.stream_output;
    let mut exec = options.into_exec()?;
    let ways = connect(callback)?;
    if stream_output {
        exec.on_output = Some(ways.on_output);
    }
    let control = run(exec, ways.on_done).map_err(|error| failure(&error))?;
    ways.gate.bind(&control);
    Ok(NativeProcess(control))
}

/// One VM.
#[napi]
pub struct NativeVm(Arc<Vm>);

#[napi]
impl NativeVm {
    /// A VM without processes.
    #[napi(constructor)]
    pub fn new(options: NativeVmOptions, image: Option<&NativeImage>) -> Result<Self> {
        let mut options: secure_exec_runtime::api::VmOptions = options.into();
        options.image = image.map(|image| image.0.clone());
        Vm::new(options).map(Self).map_err(|error| failure(&error))
    }

    /// Starts a program. `callback` gets `(0 | 1, bytes)` for output and at last `(2, outcome)`.
    #[napi]
    pub fn exec(
        &self,
        options: NativeExecOptions,
        callback: Function<'_, EventArgs, Unknown<'static>>,
    ) -> Result<NativeProcess> {
        start(options, &callback, |exec, done| self.0.exec(exec, done))
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

    /// Ends every process with reason `aborted`.
    #[napi]
    pub fn terminate(&self) {
        self.0.terminate(&End::Aborted);
    }

    /// Ends every process with reason `disposed` and refuses new ones.
    #[napi]
    pub fn dispose(&self) {
        self.0.dispose();
    }

    /// Counters.
    #[napi]
    pub fn stats(&self) -> NativeStats {
        let usage = self.0.kernel().usage();
        NativeStats {
            processes: u32::try_from(self.0.process_count()).unwrap_or(u32::MAX),
            filesystem_bytes: number(usage.filesystem_bytes),
            inodes: number(usage.inodes),
        }
    }
}

impl Drop for NativeVm {
    fn drop(&mut self) {
        self.0.dispose();
    }
}
