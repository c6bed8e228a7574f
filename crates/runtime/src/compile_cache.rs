//! `module.enableCompileCache` and `NODE_COMPILE_CACHE`. Source: `src/compile_cache.cc`.
//!
//! ```text
//!   guest's folder: header + SHA-256 of the source     says that the source was compiled before, and nothing else
//!   host's memory:  V8's code under that SHA-256       see code_cache.rs
//! ```
//!
//! A guest can write whatever it likes into its folder, and V8 trusts what its cache holds. So no byte of a file ever gets
//! to V8: a file that is not the very one for a source is a miss, and a file that is it lets the source have its part in
//! the code that the host made.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use secure_exec_kernel::{Errno, Kernel, Process, normalize};
use sha2::{Digest, Sha256};

use crate::code_cache::{Form, Lookup};
use crate::env::Env;
use crate::permission_model::Scope;
use crate::realm::NODE_VERSION;
use crate::throw::Throw;

/// Sources that one process keeps account of, and the bytes of their names.
const MAX_ENTRIES: usize = 4096;
const MAX_NAME_BYTES: usize = 4 << 20;
/// Node's first word of a cache file.
const MAGIC: u32 = 0x8adf_dbb2;
const HEADER_WORDS: usize = 5;
const HASH_BYTES: usize = 32;
/// A file that has more is none of ours.
const MAX_FILE_BYTES: u64 = 4096;

/// What came of enabling the cache, as `compileCacheStatus` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is no folder to write to.
    Failed = 0,
    /// It is on from now on.
    Enabled = 1,
    /// It was on before.
    AlreadyEnabled = 2,
    /// A variable forbids it.
    Disabled = 3,
}

/// The answer to who enables the cache.
#[derive(Debug)]
pub struct Outcome {
    /// What happened.
    pub status: Status,
    /// Why, when it is not on; else empty.
    pub message: String,
    /// The folder that was asked for; empty when there is none.
    pub directory: String,
}

impl Outcome {
    fn failed(status: Status, message: String) -> Self {
        Self {
            status,
            message,
            directory: String::new(),
        }
    }
}

struct Entry {
    form: Form,
    source: String,
    file: String,
    header: [u32; HEADER_WORDS],
    hash: [u8; HASH_BYTES],
    /// Whether V8 compiled it, in this process or in an earlier one.
    is_known: bool,
    /// Whether its file must be written.
    is_new: bool,
}

struct Enabled {
    /// The folder that was asked for.
    base: String,
    /// The folder of this version and user in it.
    folder: String,
    debugs: bool,
    entries: BTreeMap<u32, Entry>,
    name_bytes: usize,
}

/// The cache of a process, an extension of its `Env`.
#[derive(Default)]
pub struct CompileCache(RefCell<Option<Enabled>>);

fn type_name(form: Form) -> &'static str {
    match form {
        Form::CommonJs => "CommonJS",
        Form::Module => "ESM",
    }
}

fn word(hash: &[u8]) -> u32 {
    let first = hash.first_chunk::<4>().copied().unwrap_or_default();
    u32::from_le_bytes(first)
}

fn debugs(env: &Env) -> bool {
    let categories = env.variables.get("NODE_DEBUG_NATIVE").unwrap_or_default();
    let mut categories = categories.split(',');
    categories.any(|category| category.trim().eq_ignore_ascii_case("COMPILE_CACHE"))
}

/// Enables the cache when `NODE_COMPILE_CACHE` names a folder.
pub fn enable_from_environment(env: &Env) {
    if let Some(folder) = env
        .variables
        .get("NODE_COMPILE_CACHE")
        .filter(|folder| !folder.is_empty())
    {
        // Why it is off can be asked for with NODE_DEBUG_NATIVE.
        let _ = enable(env, &folder);
    }
}

/// Enables the cache in `folder`, for the rest of the process's life.
pub fn enable(env: &Env, folder: &str) -> Result<Outcome, Throw> {
    let debugs = debugs(env);
    let outcome = match &*env.extension::<CompileCache>().0.borrow() {
        _ if env.variables.get("NODE_DISABLE_COMPILE_CACHE").is_some() => {
            let text = "Disabled by NODE_DISABLE_COMPILE_CACHE".to_owned();
            Outcome::failed(Status::Disabled, text)
        }
        Some(enabled) => {
            return Ok(Outcome {
                status: Status::AlreadyEnabled,
                message: String::new(),
                directory: enabled.base.clone(),
            });
        }
        None => Outcome::failed(Status::Failed, String::new()),
    };
    let outcome = match outcome.status {
        Status::Disabled => outcome,
        _ => prepare(env, folder, debugs)?,
    };
    if debugs && !outcome.message.is_empty() {
        env.write_stderr(&format!("[compile cache] {}\n", outcome.message));
    }
    Ok(outcome)
}

fn prepare(env: &Env, folder: &str, debugs: bool) -> Result<Outcome, Throw> {
    let (kernel, process) = (env.kernel()?, env.process()?);
    let cwd = kernel.getcwd(&process).unwrap_or_else(|_| b"/".to_vec());
    let base = normalize(&cwd, folder.as_bytes());
    let base = String::from_utf8_lossy(&base).into_owned();
    let tag = format!(
        "v{NODE_VERSION}-x64-{:08x}-{}",
        v8::script_compiler::cached_data_version_tag(),
        process.uid()
    );
    let path = format!("{}/{tag}", base.trim_end_matches('/'));
    if debugs {
        env.write_stderr(&format!(
            "[compile cache] resolved path {folder} + {tag} -> {path}\n"
        ));
    }
    for (scope, name) in [
        (Scope::FileSystemWrite, "write"),
        (Scope::FileSystemRead, "read"),
    ] {
        if !env.is_permitted(scope, Some(path.as_bytes()))? {
            let text = format!(
                "Skipping compile cache because {name} permission for {path} is not granted"
            );
            return Ok(Outcome::failed(Status::Failed, text));
        }
    }
    let made = kernel.mkdir_recursive(&process, path.as_bytes(), 0o777);
    let made = match made {
        Err(errno) if errno != Errno::EEXIST => Err(errno),
        _ => Ok(()),
    };
    if debugs {
        let result = made.map_or_else(
            |errno| errno.message().to_owned(),
            |()| "success".to_owned(),
        );
        env.write_stderr(&format!(
            "[compile cache] creating cache directory {path}...{result}\n"
        ));
    }
    if let Err(errno) = made {
        let text = format!("Cannot create cache directory: {}", errno.message());
        return Ok(Outcome::failed(Status::Failed, text));
    }
    env.extension::<CompileCache>().0.replace(Some(Enabled {
        base: base.clone(),
        folder: path,
        debugs,
        entries: BTreeMap::new(),
        name_bytes: 0,
    }));
    Ok(Outcome {
        status: Status::Enabled,
        message: String::new(),
        directory: base,
    })
}

/// The folder that was asked for, when the cache is on.
pub fn directory(env: &Env) -> Option<String> {
    let cache = env.extension::<CompileCache>();
    let enabled = cache.0.borrow();
    enabled.as_ref().map(|enabled| enabled.base.clone())
}

/// A source that is compiled while the cache is on.
pub struct Compilation {
    env: Rc<Env>,
    key: u32,
}

impl Compilation {
    /// Looks for the file of a source, which is named as Node's loader names it. `None` while the cache is off.
    pub fn begin(
        scope: &mut v8::PinScope<'_, '_>,
        source: v8::Local<v8::String>,
        name: &str,
        form: Form,
    ) -> Option<Self> {
        let env = Env::of(scope);
        let cache = env.extension::<CompileCache>();
        let mut enabled = cache.0.borrow_mut();
        let enabled = enabled.as_mut()?;
        let mut hash = Sha256::new();
        hash.update(v8::script_compiler::cached_data_version_tag().to_le_bytes());
        hash.update([form as u8]);
        let text = source.to_rust_string_lossy(scope);
        let hash: [u8; HASH_BYTES] = hash.chain_update(text.as_bytes()).finalize().into();
        let named = Sha256::new()
            .chain_update([form as u8])
            .chain_update(name.as_bytes());
        let key = word(&named.finalize());
        let code_hash = word(&hash);
        if let Some(known) = enabled.entries.get(&key) {
            if known.is_known && known.hash == hash {
                return Some(Self {
                    env: env.clone(),
                    key,
                });
            }
        } else if enabled.entries.len() >= MAX_ENTRIES
            || enabled.name_bytes + name.len() > MAX_NAME_BYTES
        {
            return None;
        } else {
            enabled.name_bytes += name.len();
        }
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let entry = Entry {
            form,
            source: name.to_owned(),
            file: format!("{}/{key:08x}", enabled.folder),
            header: [
                MAGIC,
                size,
                u32::try_from(HASH_BYTES).unwrap_or_default(),
                code_hash,
                word(&Sha256::digest(hash)),
            ],
            hash,
            is_known: false,
            is_new: false,
        };
        let (is_known, said) = match (env.kernel(), env.process()) {
            (Ok(kernel), Ok(process)) => entry.read(&kernel, &process),
            _ => (false, String::new()),
        };
        if enabled.debugs {
            env.write_stderr(&format!(
                "[compile cache] reading cache from {} for {} {name}...{said}\n",
                entry.file,
                type_name(form)
            ));
        }
        enabled.entries.insert(key, Entry { is_known, ..entry });
        Some(Self {
            env: env.clone(),
            key,
        })
    }

    /// The host's code for the source, which was compiled before.
    pub fn lookup(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        source: v8::Local<v8::String>,
        form: Form,
    ) -> Lookup {
        let cache = self.env.extension::<CompileCache>();
        let is_known = match &*cache.0.borrow() {
            Some(enabled) => enabled
                .entries
                .get(&self.key)
                .is_some_and(|entry| entry.is_known),
            None => false,
        };
        if is_known {
            Lookup::find(scope, source, form)
        } else {
            Lookup::NONE
        }
    }

    /// V8 has compiled the source.
    pub fn succeeded(self) {
        let cache = self.env.extension::<CompileCache>();
        let mut enabled = cache.0.borrow_mut();
        let Some(enabled) = enabled.as_mut() else {
            return;
        };
        let Some(entry) = enabled.entries.get_mut(&self.key) else {
            return;
        };
        let was_known = std::mem::replace(&mut entry.is_known, true);
        entry.is_new |= !was_known;
        if enabled.debugs {
            let said = if was_known {
                "accepted, keeping"
            } else {
                "not initialized, initializing"
            };
            self.env.write_stderr(&format!(
                "[compile cache] V8 code cache for {} {} was {said} the in-memory entry\n",
                type_name(entry.form),
                entry.source
            ));
        }
    }
}

impl Entry {
    /// Whether its file is there and is the one for its source, and what there is to say about it.
    fn read(&self, kernel: &Kernel, process: &Process) -> (bool, String) {
        let bytes = match kernel.read_file(process, self.file.as_bytes(), MAX_FILE_BYTES) {
            Ok(bytes) => bytes.into_vec(),
            Err(errno) => return (false, format!(" {}", errno.message())),
        };
        let mut found = [0; HEADER_WORDS];
        let (words, _) = bytes.as_chunks::<4>();
        if words.len() < HEADER_WORDS {
            return (false, " bytes read is smaller than the header".to_owned());
        }
        for (slot, bytes) in found.iter_mut().zip(words) {
            *slot = u32::from_le_bytes(*bytes);
        }
        let mut said = format!("{found:?}...").replace(',', "");
        let names = [
            "magic number",
            "code size",
            "cache size",
            "code hash",
            "cache hash",
        ];
        let order = [0, 1, 3, 2, 4];
        let differs = order.iter().find_map(|index| {
            let (name, expected, actual) = (
                names.get(*index)?,
                self.header.get(*index)?,
                found.get(*index)?,
            );
            (expected != actual)
                .then(|| format!("{name} mismatch: expected {expected}, actual {actual}"))
        });
        let rest = bytes.get(HEADER_WORDS * 4..).unwrap_or_default();
        match differs {
            Some(text) => said.push_str(&text),
            None if rest != self.hash => said.push_str("cache hash mismatch"),
            None => {
                said.push_str(&format!(" success, size={HASH_BYTES}"));
                return (true, said);
            }
        }
        (false, said)
    }

    /// Writes its file, through another one that takes its place; says what happened.
    fn write(&self, kernel: &Kernel, process: &Process, debug: &dyn Fn(&str)) -> Result<(), Errno> {
        const FLAGS: i32 = secure_exec_kernel::oflag::O_WRONLY
            | secure_exec_kernel::oflag::O_CREAT
            | secure_exec_kernel::oflag::O_TRUNC;
        let kind = type_name(self.form);
        let temporary = format!("{}.tmp{}", self.file, process.pid());
        debug(&format!(
            "[compile cache] Creating temporary file for cache of {kind} {}... -> {temporary}\n",
            self.source
        ));
        let header = format!("{:?}", self.header).replace(',', "");
        debug(&format!(
            "[compile cache] writing cache for {kind} {} to temporary file {temporary} {header}...",
            self.source
        ));
        let mut bytes: Vec<u8> = self
            .header
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        bytes.extend_from_slice(&self.hash);
        let done = kernel.write_file(process, temporary.as_bytes(), &bytes, FLAGS, 0o600);
        debug(&said(done));
        done?;
        debug(&format!(
            "[compile cache] Renaming {temporary} to {}...",
            self.file
        ));
        let done = kernel.rename(process, temporary.as_bytes(), self.file.as_bytes());
        debug(&said(done));
        done
    }
}

fn said(done: Result<(), Errno>) -> String {
    match done {
        Ok(()) => "success\n".to_owned(),
        Err(errno) => format!("failed: {}\n", errno.message()),
    }
}

/// `module.flushCompileCache()`
pub fn flush_on_request(env: &Env) {
    flush(env);
    if debugs(env) {
        env.write_stderr("[compile cache] module.flushCompileCache() finished.\n");
    }
}

/// Writes what is new. The process may have an end already.
pub fn flush(env: &Env) {
    let cache = env.extension::<CompileCache>();
    let mut enabled = cache.0.borrow_mut();
    let (Some(enabled), Ok(kernel), Ok(process)) = (enabled.as_mut(), env.kernel(), env.process())
    else {
        return;
    };
    let debug = |text: &str| {
        if enabled.debugs {
            env.write_stderr(text);
        }
    };
    for entry in enabled.entries.values_mut() {
        let skipped = match entry {
            Entry {
                is_known: false, ..
            } => Some("the cache was not initialized"),
            Entry { is_new: false, .. } => Some("cache was the same"),
            _ => None,
        };
        if let Some(why) = skipped {
            debug(&format!(
                "[compile cache] skip persisting {} {} because {why}\n",
                type_name(entry.form),
                entry.source
            ));
            continue;
        }
        if entry.write(&kernel, &process, &debug).is_ok() {
            entry.is_new = false;
        }
    }
}
