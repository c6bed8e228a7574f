//! Options as the TypeScript side hands them over: complete and validated there.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use napi::bindgen_prelude::{Buffer, Result};
use napi_derive::napi;
use secure_exec_egress::{HostNetwork, HostNetworkOptions};
use secure_exec_runtime::api::{ExecOptions, Limits, VmOptions, Want};
use secure_exec_runtime::clock::Mitigation;
use secure_exec_runtime::kernel::permissions::ScopeSpec;
use secure_exec_runtime::kernel::{Egress, OsConfig, Terminal, UserConfig, WindowSize};
use serde::Deserialize;

use crate::permissions::{NativeScope, permissions};

/// Bytes of a mebibyte.
const MIB: f64 = 1_048_576.0;
/// The wall limit is this many CPU limits, unless it is given.
const WALL_FACTOR: u32 = 10;

/// A name and its value.
#[napi(object, object_to_js = false)]
#[derive(Deserialize)]
pub struct NativePair {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// A file of the guest.
#[napi(object, object_to_js = false)]
pub struct NativeFile {
    /// Its absolute path.
    pub path: String,
    /// What it holds.
    pub data: Buffer,
    /// Its permissions in an image; 0o644 where there are none.
    pub mode: Option<u32>,
}

/// Limits of a VM. Absent numbers mean the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeLimits {
    /// MiB.
    pub memory_limit: Option<f64>,
    /// Milliseconds.
    pub cpu_time_limit_ms: Option<f64>,
    /// Milliseconds.
    pub wall_time_limit_ms: Option<f64>,
    /// Bytes.
    pub json_payload_bytes: Option<f64>,
    /// Bytes.
    pub base64_transfer_bytes: Option<f64>,
    /// Bytes.
    pub max_output_bytes: Option<f64>,
    /// Number of timers.
    pub max_timers: Option<u32>,
    /// Number of handles.
    pub max_handles: Option<u32>,
    /// Number of processes that guests start.
    pub max_child_processes: Option<u32>,
    /// Number of descriptors.
    pub max_open_fds: Option<u32>,
    /// Bytes.
    pub max_filesystem_bytes: Option<f64>,
    /// Number of entries.
    pub max_inodes: Option<f64>,
    /// Number of directories one below the other.
    pub max_directory_depth: Option<u32>,
    /// Number of sockets.
    pub max_sockets: Option<u32>,
    /// Number of connections.
    pub max_connections: Option<u32>,
    /// Number of calls.
    pub max_bridge_calls: Option<f64>,
    /// Number of threads.
    pub max_parked_threads: Option<u32>,
}

/// How a VM is made, but for bytes. It crosses as JSON: reading an object of JavaScript's property by property takes longer
/// than making a VM.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeVmOptions {
    /// A name for reports.
    pub name: Option<String>,
    /// Limits.
    pub limits: NativeLimits,
    /// Whether clocks stand still while guest code runs.
    pub freeze: bool,
    /// Whether modules in read-only mounts take part in the cache of compiled code.
    pub code_cache: bool,
    /// What that cache may hold, for all VMs; absent: as it is.
    pub code_cache_bytes: Option<f64>,
    /// Directories of modules that the host gave.
    pub module_roots: Vec<String>,
    /// Environment.
    pub env: Vec<NativePair>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Arguments of programs.
    pub argv: Vec<String>,
    /// What programs may do.
    pub permissions: Vec<NativeScope>,
    /// DNS servers, each an address with its port.
    pub dns_servers: Vec<String>,
    /// Addresses of names.
    pub dns_overrides: Vec<NativeNameOverride>,
    /// Ports of the host's loopback that guests reach at theirs.
    pub loopback_exempt_ports: Vec<u32>,
    /// Whether there is something that dials for guests at all.
    pub has_way_out: bool,
    /// Whether that is an adapter of the embedder's.
    pub has_adapter: bool,
    /// Milliseconds that a function of the host may take to permit something.
    pub permission_timeout_ms: Option<f64>,
    /// Dotted paths of the host's functions.
    pub host_functions: Vec<String>,
    /// Whether the host runs commands that the VM does not have.
    pub host_commands: bool,
    /// Whether the host listens for limits that are nearly reached.
    pub warns: bool,
    /// The machine.
    pub os: NativeOs,
    /// The user.
    pub user: NativeUser,
}

/// A name and its addresses.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeNameOverride {
    /// The name, in lower case.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// What the machine says of itself. Absent values mean the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeOs {
    /// `os.type()`.
    pub kind: Option<String>,
    /// `os.release()`.
    pub release: Option<String>,
    /// `os.version()`.
    pub version: Option<String>,
    /// `os.machine()`.
    pub machine: Option<String>,
    /// `os.hostname()`.
    pub hostname: Option<String>,
    /// Model of its processors.
    pub cpu_model: Option<String>,
    /// Number of its processors.
    pub cpu_count: Option<u32>,
    /// Bytes.
    pub total_memory: Option<f64>,
    /// Bytes.
    pub free_memory: Option<f64>,
}

/// The user of programs. Absent values mean the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NativeUser {
    /// Its name.
    pub name: Option<String>,
    /// Its number.
    pub uid: Option<u32>,
    /// Its group.
    pub gid: Option<u32>,
    /// Its home directory.
    pub home: Option<String>,
    /// Its shell.
    pub shell: Option<String>,
}

/// What a terminal shows at once.
#[napi(object, object_to_js = false)]
pub struct NativeWindowSize {
    /// Characters of a line.
    pub columns: u32,
    /// Lines.
    pub rows: u32,
}

impl From<NativeWindowSize> for WindowSize {
    fn from(size: NativeWindowSize) -> Self {
        let most = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        Self {
            columns: most(size.columns),
            rows: most(size.rows),
        }
    }
}

/// One program.
#[napi(object, object_to_js = false)]
pub struct NativeExecOptions {
    /// Its source.
    pub code: String,
    /// Whether its exports are wanted.
    pub want_exports: bool,
    /// The path it stands at.
    pub file_path: Option<String>,
    /// Whether the file there is run instead of `code`.
    pub from_file: Option<bool>,
    /// Environment over that of the VM.
    pub env: Vec<NativePair>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Arguments.
    pub argv: Option<Vec<String>>,
    /// Standard input.
    pub stdin: Option<Buffer>,
    /// Its standard streams are a terminal of this size.
    pub tty: Option<NativeWindowSize>,
    /// Milliseconds.
    pub cpu_time_limit_ms: Option<f64>,
    /// Milliseconds.
    pub wall_time_limit_ms: Option<f64>,
    /// Whether the wall limit waits while a process of the tree listens for connections.
    pub wall_spares_listeners: Option<bool>,
    /// Whether a top-level await that nothing can settle is waited for.
    pub waits_for_await: Option<bool>,
    /// Clocks instead of the VM's.
    pub freeze: Option<bool>,
    /// Bytes of each standard stream to keep.
    pub capture_bytes: f64,
    /// Whether output is passed on as it is written.
    pub stream_output: bool,
    /// Node's options for this process, as a JSON list of names and values. Conformance runs only.
    pub node_options: Option<String>,
    /// `process.execArgv`. Conformance runs only.
    pub exec_argv: Option<Vec<String>>,
}

fn millis(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1000.0).unwrap_or(Duration::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; TypeScript checked the range"
)]
pub fn count(value: f64) -> u64 {
    value as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; TypeScript checked the range"
)]
pub fn size(value: f64) -> usize {
    value as usize
}

fn pairs(list: Vec<NativePair>) -> Vec<(String, String)> {
    list.into_iter()
        .map(|NativePair { name, value }| (name, value))
        .collect()
}

fn mitigation(freeze: bool) -> Mitigation {
    if freeze {
        Mitigation::Freeze
    } else {
        Mitigation::Off
    }
}

impl From<NativeLimits> for Limits {
    fn from(native: NativeLimits) -> Self {
        let default = Self::default();
        let cpu = native.cpu_time_limit_ms.map(millis).or(default.cpu);
        let wall = native.wall_time_limit_ms.map(millis);
        Self {
            memory_bytes: native
                .memory_limit
                .map_or(default.memory_bytes, |mib| size(mib * MIB)),
            cpu,
            wall: wall.or(cpu.map(|cpu| cpu.saturating_mul(WALL_FACTOR))),
            json_payload_bytes: native
                .json_payload_bytes
                .map_or(default.json_payload_bytes, size),
            base64_transfer_bytes: native
                .base64_transfer_bytes
                .map_or(default.base64_transfer_bytes, size),
            max_output_bytes: native
                .max_output_bytes
                .map_or(default.max_output_bytes, count),
            max_timers: native.max_timers.unwrap_or(default.max_timers),
            max_handles: native.max_handles.unwrap_or(default.max_handles),
            max_child_processes: native
                .max_child_processes
                .unwrap_or(default.max_child_processes),
            max_open_fds: native.max_open_fds.unwrap_or(default.max_open_fds),
            max_filesystem_bytes: native
                .max_filesystem_bytes
                .map_or(default.max_filesystem_bytes, count),
            max_inodes: native.max_inodes.map_or(default.max_inodes, count),
            max_directory_depth: native
                .max_directory_depth
                .unwrap_or(default.max_directory_depth),
            max_sockets: native.max_sockets.unwrap_or(default.max_sockets),
            max_connections: native.max_connections.unwrap_or(default.max_connections),
            max_bridge_calls: native
                .max_bridge_calls
                .map_or(default.max_bridge_calls, count),
            max_parked_threads: native
                .max_parked_threads
                .unwrap_or(default.max_parked_threads),
        }
    }
}

impl From<NativeOs> for OsConfig {
    fn from(native: NativeOs) -> Self {
        let default = Self::default();
        Self {
            kind: native.kind.unwrap_or(default.kind),
            release: native.release.unwrap_or(default.release),
            version: native.version.unwrap_or(default.version),
            machine: native.machine.unwrap_or(default.machine),
            hostname: native.hostname.unwrap_or(default.hostname),
            cpu_model: native.cpu_model.unwrap_or(default.cpu_model),
            cpu_count: native.cpu_count.unwrap_or(default.cpu_count),
            total_memory: native.total_memory.map_or(default.total_memory, count),
            free_memory: native.free_memory.map_or(default.free_memory, count),
            ..default
        }
    }
}

impl From<NativeUser> for UserConfig {
    fn from(native: NativeUser) -> Self {
        let default = Self::default();
        Self {
            name: native.name.unwrap_or(default.name),
            uid: native.uid.unwrap_or(default.uid),
            gid: native.gid.unwrap_or(default.gid),
            home: native.home.unwrap_or(default.home),
            shell: native.shell.unwrap_or(default.shell),
        }
    }
}

impl NativeVmOptions {
    /// The runtime's form, and what its way out is made with, if it has one.
    fn into_vm(self) -> (VmOptions, Option<HostNetworkOptions>) {
        let permissions = permissions(self.permissions);
        let exempt_ports: Vec<u16> = self
            .loopback_exempt_ports
            .into_iter()
            .filter_map(|port| u16::try_from(port).ok())
            .collect();
        // Where nothing leads out there is nothing that could dial.
        let is_closed = matches!(permissions.network, ScopeSpec::Given | ScopeSpec::Deny);
        let is_wanted = self.has_way_out && (!is_closed || !exempt_ports.is_empty());
        let way_out = is_wanted.then(|| HostNetworkOptions {
            servers: parsed(self.dns_servers),
            ..HostNetworkOptions::default()
        });
        let options = VmOptions {
            name: self.name.unwrap_or_default(),
            limits: self.limits.into(),
            mitigation: mitigation(self.freeze),
            code_cache: self.code_cache,
            module_roots: self.module_roots,
            env: pairs(self.env),
            cwd: self.cwd.unwrap_or_default(),
            argv: self.argv,
            permissions,
            exempt_ports,
            dns_overrides: self
                .dns_overrides
                .into_iter()
                .map(|NativeNameOverride { name, addresses }| (name, parsed(addresses)))
                .collect(),
            permission_limit: self.permission_timeout_ms.map(millis),
            host_functions: self.host_functions,
            host_commands: self.host_commands,
            warns: self.warns,
            os: self.os.into(),
            user: self.user.into(),
            ..VmOptions::default()
        };
        (options, way_out)
    }
}

/// Options of a VM that were read.
#[derive(Clone)]
pub struct VmRequest {
    /// The runtime's form, without the way out.
    options: VmOptions,
    way_out: Option<HostNetworkOptions>,
    /// Whether an adapter of the embedder's takes the place of the way out, or uses it.
    pub has_adapter: bool,
    /// What the cache of compiled code may hold, if that is given.
    pub code_cache_bytes: Option<usize>,
}

/// What was read last: a host makes many VMs that are alike, and reading takes as long as making one. Nothing with
/// variables of an environment: they may be secrets, and are not kept longer than their VM.
static LAST_READ: Mutex<Option<(String, VmRequest)>> = Mutex::new(None);
/// A text that is longer is read each time.
const MAX_KEPT_TEXT: usize = 16 << 10;

impl VmRequest {
    /// Reads [`NativeVmOptions`] from JSON.
    pub fn read(text: String) -> Result<Self> {
        let mut last = LAST_READ.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, request)) = &*last
            && *known == text
        {
            return Ok(request.clone());
        }
        let native: NativeVmOptions = serde_json::from_str(&text)
            .map_err(|error| napi::Error::from_reason(error.to_string()))?;
        let is_kept = text.len() <= MAX_KEPT_TEXT && native.env.is_empty();
        let has_adapter = native.has_adapter;
        let code_cache_bytes = native.code_cache_bytes.map(size);
        let (options, way_out) = native.into_vm();
        let request = Self {
            options,
            way_out,
            has_adapter,
            code_cache_bytes,
        };
        if is_kept {
            *last = Some((text, request.clone()));
        }
        Ok(request)
    }

    /// The runtime's form, with a way out of the VM's own.
    pub fn into_options(self) -> VmOptions {
        let egress = self
            .way_out
            .map(|options| Arc::new(HostNetwork::new(options)) as Arc<dyn Egress>);
        VmOptions {
            egress,
            ..self.options
        }
    }
}

/// Addresses; TypeScript checked that they are.
fn parsed<T: FromStr>(texts: Vec<String>) -> Vec<T> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

impl NativeExecOptions {
    /// The runtime's form, without the place where output goes.
    pub fn into_exec(self) -> Result<ExecOptions> {
        let node_options = match &self.node_options {
            None => Vec::new(),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| napi::Error::from_reason(error.to_string()))?,
        };
        let cpu = self.cpu_time_limit_ms.map(millis);
        let wall = self.wall_time_limit_ms.map(millis);
        Ok(ExecOptions {
            code: self.code,
            file_path: self.file_path,
            from_file: self.from_file.unwrap_or(false),
            want: if self.want_exports {
                Want::Exports
            } else {
                Want::Exit
            },
            env: pairs(self.env),
            cwd: self.cwd,
            argv: self.argv,
            stdin: self.stdin.map(|bytes| bytes.to_vec()).unwrap_or_default(),
            stdin_pipe: None,
            terminal: self.tty.map(|size| Terminal::new(size.into())),
            on_start: None,
            cpu,
            wall: wall.or(cpu.map(|cpu| cpu.saturating_mul(WALL_FACTOR))),
            wall_spares_listeners: self.wall_spares_listeners.unwrap_or(false),
            waits_for_await: self.waits_for_await.unwrap_or(false),
            mitigation: self.freeze.map(mitigation),
            capture_bytes: size(self.capture_bytes),
            on_output: None,
            node_options,
            exec_argv: self.exec_argv.unwrap_or_default(),
        })
    }
}
