//! The native half of `fs.cpSync`.

use secure_exec_kernel::{Errno, FileType, Kernel, Process, Stat, normalize};

use super::{argument, machine};
use crate::binding::{Args, Ret};
use crate::env::Env;
use crate::permission_model::Scope;
use crate::throw::{ErrorClass, Throw};

/// Directories within directories that are copied; paths end long before.
const MAX_DEPTH: u32 = 2048;

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// The error that C++'s `std::filesystem` causes in Node.
fn std_error(scope: &mut v8::PinScope<'_, '_>, errno: Errno, syscall: &str, path: &[u8]) -> Throw {
    let description = match errno {
        Errno::EEXIST => "File exists",
        Errno::EISDIR => "Is a directory",
        Errno::ENOTSUP => "Operation not supported",
        Errno::ENOTEMPTY => "Directory not empty",
        Errno::ELOOP => "Too many levels of symbolic links",
        Errno::ENAMETOOLONG => "File name too long",
        other => other.message(),
    };
    let mut letters = description.chars();
    let description: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect();
    let path = text(path);
    let message = format!("{}, {description} '{path}'", errno.name());
    let Some(error) = Throw::Plain(ErrorClass::Error, message).into_value(scope) else {
        return Throw::Pending;
    };
    if let Ok(object) = v8::Local::<v8::Object>::try_from(error) {
        let number = v8::Integer::new(scope, errno.number()).into();
        crate::realm::set(scope, object, "errno", number);
        for (key, value) in [
            ("code", errno.name()),
            ("path", &path),
            ("syscall", syscall),
        ] {
            if let Some(value) = v8::String::new(scope, value) {
                crate::realm::set(scope, object, key, value.into());
            }
        }
    }
    scope.throw_exception(error);
    Throw::Pending
}

/// `cpSyncCheckPaths(src, dest, dereference, recursive)`
pub fn check_paths<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let src = argument::path(scope, args.get(0))?;
    let dest = argument::path(scope, args.get(1))?;
    let (dereference, recursive) = (args.get(2).is_true(), args.get(3).is_true());
    machine!(scope => env, kernel, process);
    env.require_permission(Scope::FileSystemRead, &src)?;
    env.require_permission(Scope::FileSystemWrite, &dest)?;
    let source = kernel.stat(&process, &src).map_err(|errno| {
        Throw::system_path(
            errno,
            if dereference { "stat" } else { "lstat" },
            text(&src),
        )
    })?;
    let found = if dereference {
        kernel.stat(&process, &dest)
    } else {
        kernel.lstat(&process, &dest)
    }
    .ok();
    let is_source = |path: &[u8]| {
        kernel
            .stat(&process, path)
            .is_ok_and(|found| found.ino == source.ino && found.dev == source.dev)
    };
    if is_source(&dest) {
        return Err(Throw::error(
            "ERR_FS_CP_EINVAL",
            format!("src and dest cannot be the same {}", text(&dest)),
        ));
    }
    if let Some(found) = &found {
        if source.is_dir() && !found.is_dir() {
            let message = format!(
                "Cannot overwrite non-directory {} with directory {}",
                text(&dest),
                text(&src)
            );
            return Err(Throw::error("ERR_FS_CP_DIR_TO_NON_DIR", message));
        }
        if !source.is_dir() && found.is_dir() {
            let message = format!(
                "Cannot overwrite directory {} with non-directory {}",
                text(&dest),
                text(&src)
            );
            return Err(Throw::error("ERR_FS_CP_NON_DIR_TO_DIR", message));
        }
    }
    let mut src_slash = src.to_vec();
    if !src_slash.ends_with(b"/") {
        src_slash.push(b'/');
    }
    let inside = |shown: &[u8]| {
        let message = format!(
            "Cannot copy {} to a subdirectory of self {}",
            text(shown),
            text(&dest)
        );
        Throw::error("ERR_FS_CP_EINVAL", message)
    };
    if source.is_dir() && dest.starts_with(&src_slash) {
        return Err(inside(&src_slash));
    }
    let cwd = kernel.getcwd(&process).unwrap_or_else(|_| b"/".to_vec());
    let full = normalize(&cwd, &dest);
    let above = parent_of(&full);
    if above.len() > 1 && is_source(above) {
        return Err(inside(&src));
    }
    if source.is_dir() && !recursive {
        let message = format!(
            "Recursive option not enabled, cannot copy a directory: {}",
            text(&src_slash)
        );
        return Err(Throw::error("ERR_FS_EISDIR", message));
    }
    if source.file_type == FileType::Fifo {
        return Err(Throw::error(
            "ERR_FS_CP_FIFO_PIPE",
            format!("Cannot copy a FIFO pipe: {}", text(&dest)),
        ));
    }
    if found.is_none() || !kernel.exists(&process, above) {
        // What is wrong with the destination shows when it is written.
        let _ = kernel.mkdir_recursive(&process, above, 0o777);
    }
    Ok(v8::undefined(scope).into())
}

/// The directory of a normalized absolute path.
fn parent_of(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) | None => b"/",
        Some(cut) => path.get(..cut).unwrap_or(b"/"),
    }
}

fn copy_times(kernel: &Kernel, process: &Process, from: &[u8], to: &[u8]) -> Result<(), Throw> {
    let stat = kernel
        .stat(process, from)
        .map_err(|errno| Throw::system_path(errno, "stat", text(from)))?;
    kernel
        .utimes(process, to, Some(stat.atime), Some(stat.mtime))
        .map_err(|errno| Throw::system_path(errno, "utime", text(to)))
}

/// `cpSyncOverrideFile(src, dest, mode, preserveTimestamps)`
pub fn override_file<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let src = argument::path(scope, args.get(0))?;
    let dest = argument::path(scope, args.get(1))?;
    let mode = argument::bits(args.get(2))?;
    let preserve = args.get(3).is_true();
    machine!(scope => env, kernel, process);
    env.require_permission(Scope::FileSystemRead, &src)?;
    env.require_permission(Scope::FileSystemWrite, &dest)?;
    if let Err(errno) = kernel.unlink(&process, &dest) {
        return Err(std_error(scope, errno, "unlink", &dest));
    }
    if let Err(errno) = kernel.copy_file(&process, &src, &dest, mode) {
        return Err(std_error(scope, errno, "cp", &dest));
    }
    if preserve {
        copy_times(&kernel, &process, &src, &dest)?;
    }
    Ok(v8::undefined(scope).into())
}

/// What `cpSyncCopyDir` was told.
#[derive(Clone, Copy)]
struct Options {
    force: bool,
    dereference: bool,
    error_on_exist: bool,
    verbatim_symlinks: bool,
    preserve_timestamps: bool,
}

/// `cpSyncCopyDir(src, dest, force, dereference, errorOnExist, verbatimSymlinks, preserveTimestamps)`
pub fn copy_dir<'s>(scope: &mut v8::PinScope<'s, '_>, args: &Args<'s>) -> Ret<'s> {
    let src = argument::path(scope, args.get(0))?;
    let dest = argument::path(scope, args.get(1))?;
    let options = Options {
        force: args.get(2).is_true(),
        dereference: args.get(3).is_true(),
        error_on_exist: args.get(4).is_true(),
        verbatim_symlinks: args.get(5).is_true(),
        preserve_timestamps: args.get(6).is_true(),
    };
    machine!(scope => env, kernel, process);
    env.require_permission(Scope::FileSystemRead, &src)?;
    env.require_permission(Scope::FileSystemWrite, &dest)?;
    if let Err(errno) = kernel.mkdir_recursive(&process, &dest, 0o777) {
        return Err(std_error(scope, errno, "cp", &dest));
    }
    let copy = Copy {
        env: &env,
        kernel: &kernel,
        process: &process,
        options,
    };
    copy.contents(scope, &src, &dest, 0)?;
    Ok(v8::undefined(scope).into())
}

struct Copy<'a> {
    env: &'a Env,
    kernel: &'a Kernel,
    process: &'a Process,
    options: Options,
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = dir.to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Whether `path` is `dir` or below it, name by name.
fn is_inside(dir: &[u8], path: &[u8]) -> bool {
    let names = |path: &[u8]| -> Vec<Vec<u8>> {
        path.split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    names(path).starts_with(&names(dir))
}

impl Copy<'_> {
    fn contents(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        src: &[u8],
        dest: &[u8],
        depth: u32,
    ) -> Result<(), Throw> {
        if depth > MAX_DEPTH {
            return Err(std_error(scope, Errno::ENAMETOOLONG, "cp", dest));
        }
        let entries = match self.kernel.readdir(self.process, src) {
            Ok(entries) => entries,
            Err(errno) => return Err(std_error(scope, errno, "cp", dest)),
        };
        for entry in entries {
            if self.env.is_ending() {
                return Err(Throw::Pending);
            }
            let (from, to) = (join(src, &entry.name), join(dest, &entry.name));
            match entry.file_type {
                FileType::Symlink => self.link(scope, src, dest, &from, &to)?,
                FileType::Directory => {
                    match self.kernel.mkdir(self.process, &to, 0o777) {
                        Err(Errno::EEXIST) if self.stat(&to).is_some_and(|stat| stat.is_dir()) => {}
                        Err(errno) => return Err(std_error(scope, errno, "cp", &to)),
                        Ok(()) => {}
                    }
                    self.contents(scope, &from, &to, depth + 1)?;
                }
                FileType::Regular => self.file(scope, dest, &from, &to)?,
                FileType::CharDevice
                | FileType::BlockDevice
                | FileType::Fifo
                | FileType::Socket => {}
            }
        }
        Ok(())
    }

    fn stat(&self, path: &[u8]) -> Option<Stat> {
        self.kernel.stat(self.process, path).ok()
    }

    fn file(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        dest: &[u8],
        from: &[u8],
        to: &[u8],
    ) -> Result<(), Throw> {
        match self.stat(to) {
            Some(found) if !found.is_file() => {
                return Err(std_error(scope, Errno::ENOTSUP, "cp", dest));
            }
            Some(_) if !self.options.force && self.options.error_on_exist => {
                let message = format!(
                    "[ERR_FS_CP_EEXIST]: Target already exists: cp returned EEXIST ({} already exists)",
                    text(to)
                );
                return Err(Throw::error("ERR_FS_CP_EEXIST", message));
            }
            Some(_) if !self.options.force => {}
            _ => {
                if let Err(errno) = self.kernel.copy_file(self.process, from, to, 0) {
                    return Err(std_error(scope, errno, "cp", dest));
                }
            }
        }
        if self.options.preserve_timestamps {
            copy_times(self.kernel, self.process, from, to)?;
        }
        Ok(())
    }

    fn link(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        src: &[u8],
        dest: &[u8],
        from: &[u8],
        to: &[u8],
    ) -> Result<(), Throw> {
        let (kernel, process) = (self.kernel, self.process);
        let target = match kernel.readlink(process, from) {
            Ok(target) => target,
            Err(errno) => return Err(std_error(scope, errno, "cp", dest)),
        };
        if self.options.verbatim_symlinks {
            return kernel
                .symlink(process, &target, to)
                .map_err(|errno| std_error(scope, errno, "cp", dest));
        }
        if let Some(found) = self.stat(to) {
            if let Ok(current) = kernel.readlink(process, to) {
                let is_dir = |path: &[u8]| self.stat(path).is_some_and(|stat| stat.is_dir());
                if !self.options.dereference && is_dir(&target) && is_inside(&target, &current) {
                    let message = format!(
                        "Cannot copy {} to a subdirectory of self {}",
                        text(&target),
                        text(&current)
                    );
                    return Err(Throw::error("ERR_FS_CP_EINVAL", message));
                }
                if found.is_dir() && is_inside(&current, &target) {
                    let message =
                        format!("cannot overwrite {} with {}", text(&current), text(&target));
                    return Err(Throw::error("ERR_FS_CP_SYMLINK_TO_SUBDIRECTORY", message));
                }
                if let Err(errno) = kernel.unlink(process, to) {
                    return Err(std_error(scope, errno, "cp", dest));
                }
            } else if found.is_file()
                && (!self.options.dereference
                    || (!self.options.force && self.options.error_on_exist))
            {
                return Err(std_error(scope, Errno::EEXIST, "cp", to));
            }
        }
        let absolute = self.canonical(&normalize_from(kernel, process, src, &target));
        kernel
            .symlink(process, &absolute, to)
            .map_err(|errno| std_error(scope, errno, "cp", dest))
    }

    /// The real path of as much of `path` as there is, then the rest.
    fn canonical(&self, path: &[u8]) -> Vec<u8> {
        let mut known = path;
        loop {
            if let Ok(real) = self.kernel.realpath(self.process, known) {
                let rest = path.get(known.len()..).unwrap_or(&[]);
                let rest = rest.strip_prefix(b"/").unwrap_or(rest);
                return if rest.is_empty() {
                    real
                } else {
                    join(&real, rest)
                };
            }
            if known.len() <= 1 {
                return path.to_vec();
            }
            known = parent_of(known);
        }
    }
}

fn normalize_from(kernel: &Kernel, process: &Process, dir: &[u8], path: &[u8]) -> Vec<u8> {
    let cwd = kernel.getcwd(process).unwrap_or_else(|_| b"/".to_vec());
    normalize(&normalize(&cwd, dir), path)
}
