//! Node's permission model (`--permission`): what of its machine a program may use. Source: `src/permission/`.
//!
//! It can only take away. What the embedder allows at all is the kernel's to say, and is asked after it.

use secure_exec_kernel::{Kernel, Process, normalize};

use crate::bindings::options;
use crate::env::Env;
use crate::throw::{AccessDenied, Throw};

/// What is permitted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Reading and writing all files.
    FileSystem,
    /// Reading.
    FileSystemRead,
    /// Writing.
    FileSystemWrite,
    /// Starting processes.
    ChildProcess,
    /// Starting workers.
    WorkerThreads,
    /// WASI
    Wasi,
    /// The inspector
    Inspector,
    /// Native addons
    Addon,
}

impl Scope {
    /// The scope that `process.permission.has` calls so.
    pub fn from_label(label: &str) -> Option<Self> {
        Some(match label {
            "fs" => Self::FileSystem,
            "fs.read" => Self::FileSystemRead,
            "fs.write" => Self::FileSystemWrite,
            "child" => Self::ChildProcess,
            "worker" => Self::WorkerThreads,
            "wasi" => Self::Wasi,
            "inspector" => Self::Inspector,
            "addon" => Self::Addon,
            _ => return None,
        })
    }

    /// The scope's name in errors, and the option that grants it.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::FileSystem => ("FileSystem", ""),
            Self::FileSystemRead => ("FileSystemRead", "--allow-fs-read"),
            Self::FileSystemWrite => ("FileSystemWrite", "--allow-fs-write"),
            Self::ChildProcess => ("ChildProcess", "--allow-child-process"),
            Self::WorkerThreads => ("WorkerThreads", "--allow-worker"),
            Self::Wasi => ("WASI", "--allow-wasi"),
            Self::Inspector => ("Inspector", ""),
            Self::Addon => ("Addon", "--allow-addons"),
        }
    }
}

/// The files that one option grants.
enum Files {
    All,
    Listed(Vec<Granted>),
}

enum Granted {
    /// This path.
    Path(Vec<u8>),
    /// This directory and all below it.
    Tree(Vec<u8>),
    /// Every path that begins so.
    Prefix(Vec<u8>),
}

impl Files {
    fn new(kernel: &Kernel, process: &Process, cwd: &[u8], listed: &[String]) -> Self {
        let mut granted = Vec::new();
        for path in listed {
            if path == "*" {
                return Self::All;
            }
            granted.push(Granted::new(kernel, process, cwd, path));
        }
        Self::Listed(granted)
    }

    fn is_all(&self) -> bool {
        matches!(self, Self::All)
    }

    fn contains(&self, path: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Listed(granted) => granted.iter().any(|granted| granted.contains(path)),
        }
    }
}

impl Granted {
    fn new(kernel: &Kernel, process: &Process, cwd: &[u8], path: &str) -> Self {
        let path = normalize(cwd, path.as_bytes());
        if kernel
            .stat(process, &path)
            .is_ok_and(|found| found.is_dir())
        {
            return Self::Tree(path);
        }
        match path.iter().position(|byte| *byte == b'*') {
            Some(star) => Self::Prefix(path.get(..star).unwrap_or_default().to_vec()),
            None => Self::Path(path),
        }
    }

    fn contains(&self, path: &[u8]) -> bool {
        match self {
            Self::Path(granted) => path == granted,
            Self::Prefix(granted) => path.starts_with(granted),
            Self::Tree(granted) if granted == b"/" => true,
            Self::Tree(granted) => path
                .strip_prefix(granted.as_slice())
                .is_some_and(|rest| matches!(rest.first(), None | Some(b'/'))),
        }
    }
}

/// See the module's text.
pub struct PermissionModel {
    read: Files,
    write: Files,
    child: bool,
    worker: bool,
    wasi: bool,
    addon: bool,
}

impl PermissionModel {
    /// What the options of this process permit, if they ask for the model. A program that is a file can always be read,
    /// and so can what is required before it.
    pub fn from_options(env: &Env, kernel: &Kernel, process: &Process, main: &str) -> Option<Self> {
        if !options::flag(env, "--permission") && !options::flag(env, "--experimental-permission") {
            return None;
        }
        let cwd = current_directory(kernel, process);
        let mut read = options::list(env, "--allow-fs-read");
        if !options::flag(env, "[has_eval_string]") && !options::flag(env, "--interactive") {
            read.extend(options::list(env, "--require"));
            read.push(main.to_owned());
        }
        let write = options::list(env, "--allow-fs-write");
        Some(Self {
            read: Files::new(kernel, process, &cwd, &read),
            write: Files::new(kernel, process, &cwd, &write),
            child: options::flag(env, "--allow-child-process"),
            worker: options::flag(env, "--allow-worker"),
            wasi: options::flag(env, "--allow-wasi"),
            addon: options::flag(env, "--allow-addons"),
        })
    }

    fn permits(&self, scope: Scope, path: Option<&[u8]>) -> bool {
        let files =
            |files: &Files| path.map_or_else(|| files.is_all(), |path| files.contains(path));
        match scope {
            Scope::FileSystem => self.read.is_all() && self.write.is_all(),
            Scope::FileSystemRead => files(&self.read),
            Scope::FileSystemWrite => files(&self.write),
            Scope::ChildProcess => self.child,
            Scope::WorkerThreads => self.worker,
            Scope::Wasi => self.wasi,
            Scope::Inspector => false,
            Scope::Addon => self.addon,
        }
    }
}

fn current_directory(kernel: &Kernel, process: &Process) -> Vec<u8> {
    // Nothing is below a directory that is gone.
    kernel.getcwd(process).unwrap_or_else(|_| b"/".to_vec())
}

impl Env {
    /// Whether the permission model permits `scope`, for `path` if one is given.
    pub fn is_permitted(&self, scope: Scope, path: Option<&[u8]>) -> Result<bool, Throw> {
        let Some(model) = self.permission_model() else {
            return Ok(true);
        };
        let path = match path.filter(|path| !path.is_empty()) {
            Some(path) => {
                let cwd = current_directory(&*self.kernel()?, &*self.process()?);
                Some(normalize(&cwd, path))
            }
            None => None,
        };
        Ok(model.permits(scope, path.as_deref()))
    }

    /// The error for what the permission model does not permit; `resource` is a path for the scopes of files.
    pub fn denied(&self, scope: Scope, resource: &[u8]) -> Result<Option<AccessDenied>, Throw> {
        if self.permission_model().is_none() || self.is_permitted(scope, Some(resource))? {
            return Ok(None);
        }
        let (permission, option) = scope.names();
        Ok(Some(AccessDenied {
            permission,
            option,
            resource: String::from_utf8_lossy(resource).into_owned(),
        }))
    }

    /// Throws what [`Self::denied`] answers.
    pub fn require_permission(&self, scope: Scope, resource: &[u8]) -> Result<(), Throw> {
        match self.denied(scope, resource)? {
            Some(denied) => Err(Throw::Denied(Box::new(denied))),
            None => Ok(()),
        }
    }
}
