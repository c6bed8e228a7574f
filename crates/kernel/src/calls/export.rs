//! Taking files out of the machine: as a tar archive, whole or what changed. For the host only.
//!
//! The same tree gives the same archive, byte for byte: entries come sorted by name, directories before what is in them,
//! and headers say nothing but type, mode, size and, if asked for, the modification time.

use std::collections::HashMap;
use std::io::Write;

use tar::{EntryType, Header};

use crate::changes::{Changes, Mark};
use crate::errno::{Errno, Result};
use crate::fd::Fd;
use crate::flags::oflag;
use crate::inode::{Ino, Kind, ROOT, beside};
use crate::kernel::Kernel;
use crate::memfs::MemFs;
use crate::mount::{MountInfo, device_number};
use crate::path::normalize;
use crate::stat::{FileType, Stat};
use crate::untar::{TarError, TarLimits};

const BLOCK: usize = 512;
const STEP: usize = 64 << 10;
/// Names and link texts that fit a header.
const NAME_FIELD: usize = 100;
/// What GNU tar calls an entry that holds the next one's name.
const LONG_NAME: &[u8] = b"././@LongLink";

/// How to export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ExportOptions {
    /// Whether modification times go along. Without them equal contents make equal archives.
    pub times: bool,
    /// What an export may hold.
    pub limits: TarLimits,
}

struct Export<'e> {
    kernel: &'e Kernel,
    sink: &'e mut dyn Write,
    options: ExportOptions,
    bytes: u64,
    entries: u64,
    /// Where files with several names were written first.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

fn refused(path: &[u8]) -> impl FnOnce(Errno) -> TarError + '_ {
    |errno| TarError::Entry {
        path: path.to_vec(),
        errno,
    }
}

fn fill(field: &mut [u8], text: &[u8]) {
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
}

impl<'e> Export<'e> {
    fn new(kernel: &'e Kernel, sink: &'e mut dyn Write, options: ExportOptions) -> Export<'e> {
        Export {
            kernel,
            sink,
            options,
            bytes: 0,
            entries: 0,
            linked: HashMap::new(),
        }
    }

    /// A directory and all that is in it, depth first.
    fn tree(&mut self, root: &[u8]) -> Result<(), TarError> {
        let kernel = self.kernel;
        let host = kernel.host();
        let root = kernel.realpath(host, root).map_err(refused(root))?;
        let top = kernel.stat(host, &root).map_err(refused(&root))?;
        if !top.is_dir() {
            return Err(refused(&root)(Errno::ENOTDIR));
        }
        let elsewhere = kernel.left_out(top.dev);
        // The rest of each directory on the way, next name last.
        let mut levels = vec![(root.clone(), kernel.sorted_names(&root)?)];
        while let Some((dir, names)) = levels.last_mut() {
            let Some(name) = names.pop() else {
                levels.pop();
                continue;
            };
            let path = normalize(dir, &[b"./", &*name].concat());
            let stat = match kernel.lstat(host, &path) {
                Ok(stat) => stat,
                // It went meanwhile.
                Err(Errno::ENOENT) => continue,
                Err(errno) => return Err(refused(&path)(errno)),
            };
            if kernel.is_proc(&stat) {
                continue;
            }
            self.entry(&path, beneath(&path, &root), &stat)?;
            if stat.is_dir() && !elsewhere.contains(&stat.dev) {
                let names = kernel.sorted_names(&path)?;
                levels.push((path, names));
            }
        }
        Ok(())
    }

    /// Just these paths; those that are gone are left out.
    fn paths<'p>(&mut self, paths: impl Iterator<Item = &'p Vec<u8>>) -> Result<(), TarError> {
        for path in paths {
            match self.kernel.lstat(self.kernel.host(), path) {
                Ok(stat) => self.entry(path, beneath(path, b"/"), &stat)?,
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(errno) => return Err(refused(path)(errno)),
            }
        }
        Ok(())
    }

    /// Says that what is at `name` goes, with all that is in it.
    fn whiteout(&mut self, name: &[u8]) -> Result<(), TarError> {
        self.count_entry()?;
        self.long(EntryType::GNULongName, name)?;
        self.header(EntryType::Char, name, b"", None, 0)
    }

    fn count_entry(&mut self) -> Result<(), TarError> {
        self.entries += 1;
        if self.entries > self.options.limits.entries {
            return Err(TarError::TooLarge("entries", self.options.limits.entries));
        }
        Ok(())
    }

    fn header(
        &mut self,
        kind: EntryType,
        name: &[u8],
        link: &[u8],
        stat: Option<&Stat>,
        size: u64,
    ) -> Result<(), TarError> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stat.map_or(0o644, Stat::permissions));
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(size);
        let seconds = stat
            .filter(|_| self.options.times)
            .map_or(0, |stat| u64::try_from(stat.mtime.seconds).unwrap_or(0));
        header.set_mtime(seconds);
        if kind == EntryType::Char {
            header.set_device_major(0)?;
            header.set_device_minor(0)?;
        }
        fill(&mut header.as_old_mut().name, name);
        fill(&mut header.as_old_mut().linkname, link);
        header.set_cksum();
        self.sink.write_all(header.as_bytes())?;
        Ok(())
    }

    /// Writes what a name or link text that does not fit a header needs before it.
    fn long(&mut self, kind: EntryType, text: &[u8]) -> Result<(), TarError> {
        if text.len() <= NAME_FIELD {
            return Ok(());
        }
        self.header(kind, LONG_NAME, b"", None, text.len() as u64 + 1)?;
        self.sink.write_all(text)?;
        self.sink.write_all(&[0])?;
        self.pad(text.len() + 1)
    }

    fn pad(&mut self, len: usize) -> Result<(), TarError> {
        let zeros = [0; BLOCK];
        let rest = len.next_multiple_of(BLOCK) - len;
        self.sink.write_all(zeros.get(..rest).unwrap_or(&[]))?;
        Ok(())
    }

    /// Writes one entry. `name` is its path in the archive.
    fn entry(&mut self, path: &[u8], name: &[u8], stat: &Stat) -> Result<(), TarError> {
        let limits = self.options.limits;
        let host = self.kernel.host();
        let (kind, link) = match stat.file_type {
            FileType::Directory => (EntryType::Directory, Vec::new()),
            FileType::Symlink => {
                let text = self.kernel.readlink(host, path).map_err(refused(path))?;
                (EntryType::Symlink, text)
            }
            FileType::Regular if stat.nlink > 1 => {
                if let Some(first) = self.linked.get(&(stat.dev, stat.ino)) {
                    (EntryType::Link, first.clone())
                } else {
                    self.linked.insert((stat.dev, stat.ino), name.to_vec());
                    (EntryType::Regular, Vec::new())
                }
            }
            FileType::Regular => (EntryType::Regular, Vec::new()),
            // Devices and pipes are the machine's, not its contents.
            _ => return Ok(()),
        };
        self.count_entry()?;
        let size = if kind == EntryType::Regular {
            stat.size
        } else {
            0
        };
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > limits.bytes {
            return Err(TarError::TooLarge("bytes", limits.bytes));
        }
        let mut name = name.to_vec();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        self.long(EntryType::GNULongLink, &link)?;
        self.long(EntryType::GNULongName, &name)?;
        self.header(kind, &name, &link, Some(stat), size)?;
        if kind == EntryType::Regular {
            let fd = self
                .kernel
                .open(host, path, oflag::O_RDONLY | oflag::O_NOFOLLOW, 0)
                .map_err(refused(path))?;
            let written = self.contents(fd, path, size);
            self.kernel.close(host, fd).map_err(refused(path))?;
            written?;
        }
        Ok(())
    }

    /// Exactly as many bytes as the header says, whatever happens to the file meanwhile.
    fn contents(&mut self, fd: Fd, path: &[u8], size: u64) -> Result<(), TarError> {
        let mut step = vec![0; STEP];
        let mut at = 0;
        while at < size {
            let want = usize::try_from(size - at).unwrap_or(STEP).min(STEP);
            let part = step.get_mut(..want).unwrap_or(&mut []);
            let n = self
                .kernel
                .read(self.kernel.host(), fd, part, Some(at))
                .map_err(refused(path))?;
            if n == 0 {
                part.fill(0);
            }
            let n = if n == 0 { want } else { n };
            self.sink.write_all(part.get(..n).unwrap_or(&[]))?;
            at += n as u64;
        }
        self.pad((size % BLOCK as u64) as usize)
    }

    fn end(&mut self) -> Result<(), TarError> {
        self.sink.write_all(&[0; 2 * BLOCK])?;
        self.sink.flush()?;
        Ok(())
    }
}

fn beneath<'p>(path: &'p [u8], root: &[u8]) -> &'p [u8] {
    let rest = path.strip_prefix(root).unwrap_or(path);
    rest.strip_prefix(b"/").unwrap_or(rest)
}

impl Kernel {
    /// Writes what is beneath a directory as a tar archive. `/proc`, devices and what is mounted beneath from the embedder's
    /// own file systems are left out; [`ImageBuilder::tar`](crate::ImageBuilder::tar) reads it again. Files that change
    /// meanwhile are in it as some mixture of before and after.
    pub fn export_tar(
        &self,
        root: &[u8],
        options: ExportOptions,
        sink: &mut dyn Write,
    ) -> Result<(), TarError> {
        let mut export = Export::new(self, sink, options);
        export.tree(root)?;
        export.end()
    }

    /// Writes the entries of some paths, as [`Kernel::changes_since`] gives them; those that are gone are left out.
    pub fn export_paths(
        &self,
        paths: &[Vec<u8>],
        options: ExportOptions,
        sink: &mut dyn Write,
    ) -> Result<(), TarError> {
        let mut export = Export::new(self, sink, options);
        export.paths(paths.iter())?;
        export.end()
    }

    fn sorted_names(&self, dir: &[u8]) -> Result<Vec<std::sync::Arc<[u8]>>, TarError> {
        let entries = self.readdir(self.host(), dir).map_err(refused(dir))?;
        Ok(entries.into_iter().rev().map(|entry| entry.name).collect())
    }

    /// Devices of the embedder's file systems, but for the one that is exported.
    fn left_out(&self, top: u64) -> Vec<u64> {
        self.mounts()
            .into_iter()
            .filter(MountInfo::is_embedders)
            .map(|mount| mount.dev)
            .filter(|dev| *dev != top)
            .collect()
    }

    fn is_proc(&self, stat: &Stat) -> bool {
        let fs = self.shared.lock();
        stat.dev == device_number(0) && stat.ino == fs.proc_root() && stat.ino != ROOT
    }

    /// Writes what changed since a mark, to be read over what was exported before: first what went, as overlayfs says it
    /// (a character device with the number 0, 0 at its path), then what is new. When not all is known of what went, the
    /// root itself goes, and everything follows. File systems of the embedder are left out, as in
    /// [`Kernel::export_tar`].
    pub fn export_changes(
        &self,
        mark: Mark,
        options: ExportOptions,
        sink: &mut dyn Write,
    ) -> Result<(), TarError> {
        let changes = self.changes_since(mark);
        let mut export = Export::new(self, sink, options);
        if changes.incomplete {
            export.whiteout(b"./")?;
            export.tree(b"/")?;
            return export.end();
        }
        let elsewhere = self.paths_elsewhere();
        let is_ours = |path: &&Vec<u8>| {
            !elsewhere.iter().any(|mount| {
                let beneath = path.strip_prefix(&mount[..]);
                beneath.is_some_and(|rest| rest.starts_with(b"/"))
            })
        };
        for path in changes.removed.iter().filter(is_ours) {
            export.whiteout(beneath(path, b"/"))?;
        }
        export.paths(changes.changed.iter().filter(is_ours))?;
        export.end()
    }

    /// Where the embedder's own file systems are mounted.
    fn paths_elsewhere(&self) -> Vec<Vec<u8>> {
        self.mounts()
            .into_iter()
            .filter(MountInfo::is_embedders)
            .map(|mount| mount.path)
            .collect()
    }

    /// A moment to ask [`Kernel::changes_since`] about. From the first one on, removed names are kept, up to 4 MiB.
    pub fn mark(&self) -> Mark {
        self.shared.lock().changes.mark()
    }

    /// What changed in the VM's memory, its own tree and mounts, since a mark.
    pub fn changes_since(&self, mark: Mark) -> Changes {
        let fs = self.shared.lock();
        let (removed, incomplete) = fs.changes.removed_since(mark);
        let (mut changed, all_known) = collect(&fs, mark);
        changed.sort();
        changed.dedup();
        Changes {
            changed,
            removed,
            incomplete: incomplete || !all_known,
        }
    }
}

/// The changed paths of all that is in memory, everything beneath what was moved, and whether these are all: what shows
/// through in a directory that was moved is not in memory.
fn collect(fs: &MemFs, mark: Mark) -> (Vec<Vec<u8>>, bool) {
    let mut found = Vec::new();
    let mut all_known = true;
    let top = fs.mounts.root_in_memory(ROOT).unwrap_or(ROOT);
    let mut todo: Vec<(Ino, Vec<u8>, bool)> = vec![(top, Vec::new(), false)];
    while let Some((ino, path, all)) = todo.pop() {
        let Ok(dir) = fs.dir(ino) else {
            continue;
        };
        all_known &= !(all && dir.lower.is_some());
        for (name, entry) in dir.entries.iter() {
            let child = beside(ino, entry.ino);
            let Ok(inode) = fs.get(child) else {
                continue;
            };
            let path = [&path[..], b"/", name].concat();
            let moved = matches!(&inode.kind, Kind::Dir(dir) if dir.moved > mark.0);
            let all = all || moved;
            if all || inode.changed > mark.0 {
                found.push(path.clone());
            }
            if entry.file_type == FileType::Directory {
                let covered = fs.mounts.root_in_memory(child);
                todo.push((covered.unwrap_or(child), path, all));
            }
        }
    }
    (found, all_known)
}
