//! `/proc`: small, declared, and only about the process that looks.
//!
//! ```text
//!   /proc  cpuinfo  loadavg  meminfo  self -> <pid>  stat  uptime  version
//!          <pid>/   cmdline  comm  cwd ->  exe ->  fd/  limits  root ->  status
//!                                                  fd/<n> ->  (opens the same file again)
//! ```
//!
//! Nothing here comes from the host, and nothing moves but the clock. `environ`, `mem`, `maps` do not exist.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::errno::{Errno, Result};
use crate::inode::ROOT;
use crate::memfs::MemFs;
use crate::process::Cx;
use crate::stat::{DirEntry, FileType};

/// A file of `/proc`. `Root` is never a node of its own: the tree has an inode for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcNode {
    Root,
    Cpuinfo,
    Loadavg,
    Meminfo,
    SelfLink,
    Stat,
    Sys,
    Uptime,
    Version,
    SysKernel,
    Hostname,
    OsRelease,
    OsType,
    OsVersion,
    Process,
    Cmdline,
    Comm,
    Cwd,
    Exe,
    FdDir,
    Limits,
    RootLink,
    Status,
    Fd(i32),
}

const TOP: [(&str, ProcNode); 8] = [
    ("cpuinfo", ProcNode::Cpuinfo),
    ("loadavg", ProcNode::Loadavg),
    ("meminfo", ProcNode::Meminfo),
    ("self", ProcNode::SelfLink),
    ("stat", ProcNode::Stat),
    ("sys", ProcNode::Sys),
    ("uptime", ProcNode::Uptime),
    ("version", ProcNode::Version),
];

const PROCESS: [(&str, ProcNode); 8] = [
    ("cmdline", ProcNode::Cmdline),
    ("comm", ProcNode::Comm),
    ("cwd", ProcNode::Cwd),
    ("exe", ProcNode::Exe),
    ("fd", ProcNode::FdDir),
    ("limits", ProcNode::Limits),
    ("root", ProcNode::RootLink),
    ("status", ProcNode::Status),
];

const SYS: [(&str, ProcNode); 1] = [("kernel", ProcNode::SysKernel)];

const SYS_KERNEL: [(&str, ProcNode); 4] = [
    ("hostname", ProcNode::Hostname),
    ("osrelease", ProcNode::OsRelease),
    ("ostype", ProcNode::OsType),
    ("version", ProcNode::OsVersion),
];

/// The entries of a directory that are always there.
fn table(dir: ProcNode) -> &'static [(&'static str, ProcNode)] {
    match dir {
        ProcNode::Root => &TOP,
        ProcNode::Process => &PROCESS,
        ProcNode::Sys => &SYS,
        ProcNode::SysKernel => &SYS_KERNEL,
        _ => &[],
    }
}

/// All such entries, each with its directory.
fn entries() -> impl Iterator<Item = (ProcNode, &'static str, ProcNode)> {
    [
        ProcNode::Root,
        ProcNode::Process,
        ProcNode::Sys,
        ProcNode::SysKernel,
    ]
    .into_iter()
    .flat_map(|dir| {
        table(dir)
            .iter()
            .map(move |(name, node)| (dir, *name, *node))
    })
}

pub(crate) fn file_type(node: ProcNode) -> FileType {
    match node {
        ProcNode::Root
        | ProcNode::Process
        | ProcNode::FdDir
        | ProcNode::Sys
        | ProcNode::SysKernel => FileType::Directory,
        ProcNode::SelfLink
        | ProcNode::Cwd
        | ProcNode::Exe
        | ProcNode::RootLink
        | ProcNode::Fd(_) => FileType::Symlink,
        _ => FileType::Regular,
    }
}

pub(crate) fn mode(node: ProcNode) -> u32 {
    match file_type(node) {
        FileType::Directory => 0o555,
        FileType::Symlink => 0o777,
        _ => 0o444,
    }
}

/// A number for `st_ino`, apart from the tree's own.
pub(crate) fn ino(node: ProcNode) -> u64 {
    const BASE: u64 = 0xF000_0000;
    match node {
        ProcNode::Fd(fd) => BASE + 0x100 + u64::from(fd.unsigned_abs()),
        other => {
            let index = entries().position(|(_, _, node)| node == other);
            BASE + index.map_or(0x80, |i| i as u64 + 1)
        }
    }
}

/// The directory above; `None` is `/proc` itself.
pub(crate) fn parent(node: ProcNode) -> Option<ProcNode> {
    match node {
        ProcNode::Fd(_) => Some(ProcNode::FdDir),
        other => entries()
            .find(|(_, _, node)| *node == other)
            .map(|(dir, _, _)| dir)
            .filter(|dir| *dir != ProcNode::Root),
    }
}

fn parse_number(name: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(name).ok()?;
    let canonical = text == "0" || !text.starts_with('0');
    if canonical && text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

pub(crate) fn lookup(cx: &Cx<'_>, dir: ProcNode, name: &[u8]) -> Option<ProcNode> {
    match dir {
        ProcNode::Root if parse_number(name) == Some(cx.process.pid()) => {
            return Some(ProcNode::Process);
        }
        ProcNode::FdDir => {
            let fd = i32::try_from(parse_number(name)?).ok()?;
            return cx.process.file(fd).is_ok().then_some(ProcNode::Fd(fd));
        }
        _ => {}
    }
    table(dir)
        .iter()
        .find(|(n, _)| n.as_bytes() == name)
        .map(|(_, node)| *node)
}

/// Entries of a directory, sorted by name.
pub(crate) fn list(cx: &Cx<'_>, dir: ProcNode) -> Vec<DirEntry> {
    let entry = |name: &str, node: ProcNode| DirEntry {
        name: Arc::from(name.as_bytes()),
        file_type: file_type(node),
    };
    let mut entries: Vec<DirEntry> = match dir {
        ProcNode::Root => {
            let pid = cx.process.pid().to_string();
            std::iter::once(entry(&pid, ProcNode::Process))
                .chain(TOP.iter().map(|(name, node)| entry(name, *node)))
                .collect()
        }
        ProcNode::FdDir => cx
            .process
            .fds()
            .into_iter()
            .map(|fd| entry(&fd.to_string(), ProcNode::Fd(fd)))
            .collect(),
        dir => table(dir)
            .iter()
            .map(|(name, node)| entry(name, *node))
            .collect(),
    };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

pub(crate) fn path(pid: u32, node: ProcNode) -> Vec<u8> {
    let name = |node: ProcNode| {
        entries()
            .find(|(_, _, other)| *other == node)
            .map_or("", |(_, name, _)| name)
    };
    match node {
        ProcNode::Root => "/proc".to_owned(),
        ProcNode::Process => format!("/proc/{pid}"),
        ProcNode::Fd(fd) => format!("/proc/{pid}/fd/{fd}"),
        other if parent(other) == Some(ProcNode::Process) => format!("/proc/{pid}/{}", name(other)),
        other if parent(other) == Some(ProcNode::SysKernel) => {
            format!("/proc/sys/kernel/{}", name(other))
        }
        ProcNode::SysKernel => "/proc/sys/kernel".to_owned(),
        other => format!("/proc/{}", name(other)),
    }
    .into_bytes()
}

pub(crate) fn link_text(fs: &MemFs, cx: &Cx<'_>, node: ProcNode) -> Result<Vec<u8>> {
    match node {
        ProcNode::SelfLink => Ok(cx.process.pid().to_string().into_bytes()),
        ProcNode::Cwd => fs.path_of_node(&cx.cwd),
        ProcNode::Exe => Ok(cx.process.exec_path().as_bytes().to_vec()),
        ProcNode::RootLink => fs.path_of(ROOT),
        ProcNode::Fd(fd) => {
            let file = cx.process.file(fd).map_err(|_| Errno::ENOENT)?;
            file.describe(fs)
        }
        _ => Err(Errno::EINVAL),
    }
}

pub(crate) fn contents(cx: &Cx<'_>, node: ProcNode) -> Vec<u8> {
    let machine = cx.process.machine();
    let os = &machine.os;
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = match node {
        ProcNode::Cpuinfo => (0..os.cpu_count).try_for_each(|n| {
            writeln!(
                out,
                "processor\t: {n}\nmodel name\t: {}\ncpu cores\t: {}\n",
                os.cpu_model, os.cpu_count
            )
        }),
        ProcNode::Loadavg => writeln!(out, "0.00 0.00 0.00 1/1 {}", cx.process.pid()),
        ProcNode::Meminfo => writeln!(
            out,
            "MemTotal:       {:>8} kB\nMemFree:        {:>8} kB\nMemAvailable:   {:>8} kB",
            os.total_memory >> 10,
            os.free_memory >> 10,
            os.free_memory >> 10
        ),
        ProcNode::Stat => writeln!(
            out,
            "cpu  0 0 0 0 0 0 0 0 0 0\nprocesses 1\nprocs_running 1"
        ),
        ProcNode::Uptime => {
            let hundredths = cx.process.clock().monotonic_ns() / 10_000_000;
            writeln!(out, "{}.{:02} 0.00", hundredths / 100, hundredths % 100)
        }
        ProcNode::Version => writeln!(out, "{} version {} {}", os.kind, os.release, os.version),
        ProcNode::Hostname => writeln!(out, "{}", os.hostname),
        ProcNode::OsRelease => writeln!(out, "{}", os.release),
        ProcNode::OsType => writeln!(out, "{}", os.kind),
        ProcNode::OsVersion => writeln!(out, "{}", os.version),
        ProcNode::Cmdline => cx
            .process
            .argv()
            .iter()
            .try_for_each(|word| write!(out, "{word}\0")),
        ProcNode::Comm => writeln!(out, "node"),
        ProcNode::Limits => {
            let max = cx.process.max_fds();
            [
                ("Limit", "Soft Limit", "Hard Limit", "Units"),
                (
                    "Max open files",
                    &max.to_string(),
                    &max.to_string(),
                    "files",
                ),
            ]
            .iter()
            .try_for_each(|(limit, soft, hard, unit)| {
                writeln!(out, "{limit:<25} {soft:<20} {hard:<20} {unit:<10}")
            })
        }
        ProcNode::Status => writeln!(
            out,
            "Name:\tnode\nUmask:\t{:04o}\nState:\tR (running)\nTgid:\t{pid}\nPid:\t{pid}\nPPid:\t{}\n\
             Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{gid}\t{gid}\t{gid}\t{gid}\nThreads:\t1",
            cx.umask,
            cx.process.ppid(),
            pid = cx.process.pid(),
            uid = cx.uid,
            gid = cx.gid,
        ),
        _ => Ok(()),
    };
    out.into_bytes()
}
