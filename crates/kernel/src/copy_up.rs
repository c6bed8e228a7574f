//! Copy on write: what a change needs in memory is brought there first.
//!
//! ```text
//!   directory in memory   entries      what the VM has made or changed
//!        |                whiteouts    names that do not show through
//!        v lower          a directory of the foreign file system, which only ever is read
//! ```
//!
//! A walk finds an entry, else a whiteout, else what is underneath as a [`Place`]. Before a call may change a place, or
//! something in it, the gate has the directories above it and then itself made in memory, name by name from the top, each
//! over what it stands for; then it walks again and finds inodes. What is in memory is on the VM's account: an inode for
//! each entry and one for each whiteout, and the bytes of files.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::content::Content;
use crate::errno::{Errno, Result};
use crate::inode::{Directory, Ino, Kind, Lower, Name};
use crate::kernel::{Ask, Kernel};
use crate::memfs::{MAY_WRITE, MemFs};
use crate::mount::{Anchor, Foreign, Place, join};
use crate::mounted_fs::{Caller, OpenHow};
use crate::path::NAME_MAX;
use crate::policy::FsOp;
use crate::process::Cx;
use crate::resolve::{Known, Last, Location, Node};
use crate::stat::FileType;

const STEP: usize = 64 << 10;

/// What has to be done before a call may go on.
pub(crate) enum CopyUp {
    /// Make what is directly under a directory in memory.
    Entry {
        mount: Arc<Foreign>,
        dir: Ino,
        path: Vec<u8>,
        name: Name,
        /// Its contents will be cut off anyway.
        without_contents: bool,
    },
    /// Find out whether anything shows through in a directory.
    Empty {
        dir: Ino,
        mount: Arc<Foreign>,
        path: Arc<[u8]>,
    },
}

/// Which of its paths a call asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Only,
    Source,
    Target,
}

/// Whether a call may go on with what it found.
pub(crate) fn needed(
    fs: &MemFs,
    cx: &Cx<'_>,
    ask: &Ask<'_>,
    role: Role,
    location: &Location,
    known: &Known,
) -> Result<Option<CopyUp>> {
    if fs.mounts.is_empty() || !(ask.op.is_change() || matches!(ask.op, FsOp::Chdir | FsOp::Watch))
    {
        return Ok(None);
    }
    if location.target.is_none() {
        let makes = ask.walk.creates
            || (role != Role::Source && location.last == Last::Name && makes_names(ask.op));
        let fits = location.name.len() <= NAME_MAX;
        return Ok(match &location.parent {
            Some(Node::Foreign(dir)) if makes && fits => first_missing(fs, dir, false),
            _ => None,
        });
    }
    if let Some(Node::Foreign(dir)) = &location.parent
        && matches!(ask.op, FsOp::Unlink | FsOp::Rmdir | FsOp::Rename)
        && location.last == Last::Name
        && let Some(missing) = first_missing(fs, dir, false)
    {
        return Ok(Some(missing));
    }
    match &location.target {
        Some(Node::Foreign(place)) if place.anchor.is_some() => {
            let file_type = place.file_type();
            let is_dir = file_type == FileType::Directory;
            let wanted = match ask.op {
                FsOp::Write if ask.walk.exclusive => false,
                FsOp::Write | FsOp::Truncate => file_type == FileType::Regular,
                FsOp::Chdir => is_dir,
                // A name that shows through is hidden; what is under it need not come up.
                FsOp::Unlink => false,
                FsOp::Rename if role == Role::Target => is_dir,
                FsOp::Mkdir | FsOp::Symlink => false,
                FsOp::Rmdir => is_dir,
                _ => true,
            };
            if !wanted {
                return Ok(None);
            }
            if matches!(ask.op, FsOp::Write | FsOp::Truncate)
                && let Some(stat) = place.stat
            {
                fs.may_as(&place.mount.shown(cx, stat), cx, MAY_WRITE)?;
            }
            let cut = ask.op == FsOp::Write && ask.walk.truncates;
            Ok(first_missing(fs, place, cut))
        }
        Some(Node::Mem(ino)) if matches!(ask.op, FsOp::Rmdir | FsOp::Rename) => {
            Ok(match fs.dir(*ino) {
                Ok(Directory {
                    entries,
                    lower: Some(lower),
                    ..
                }) if entries.is_empty() && !known.is_settled(*ino) => Some(CopyUp::Empty {
                    dir: *ino,
                    mount: lower.mount.clone(),
                    path: lower.path.clone(),
                }),
                _ => None,
            })
        }
        _ => Ok(None),
    }
}

fn makes_names(op: FsOp) -> bool {
    matches!(
        op,
        FsOp::Mkdir | FsOp::Symlink | FsOp::Link | FsOp::Rename | FsOp::Write
    )
}

/// The uppermost part of a place's path that is not in memory; nothing in a mount that cannot be changed.
fn first_missing(fs: &MemFs, place: &Place, without_contents: bool) -> Option<CopyUp> {
    let Anchor { dir, skip } = place.anchor?;
    if fs.mounts.get(place.mount.id)?.read_only {
        return None;
    }
    let suffix = place.suffix();
    let name = suffix.split(|b| *b == b'/').next()?;
    if name.is_empty() {
        return None;
    }
    Some(CopyUp::Entry {
        mount: place.mount.clone(),
        dir,
        path: join(place.path.get(..skip)?, name),
        without_contents: without_contents && name.len() == suffix.len(),
        name: Arc::from(name),
    })
}

impl Kernel {
    /// Does what has to be done. Must be called without the lock; the caller walks again.
    pub(crate) fn copy_up(&self, cx: &Cx<'_>, work: CopyUp, known: &mut Known) -> Result<()> {
        cx.process.go_on()?;
        let caller = Caller::new(cx);
        match work {
            CopyUp::Entry {
                mount,
                dir,
                path,
                name,
                without_contents,
            } => {
                known.copies_up()?;
                let stat = mount.shown(cx, mount.fs()?.lstat(&caller, &path)?);
                let kind = match stat.file_type {
                    FileType::Directory => {
                        let mut made = Directory::new(dir, name.clone());
                        made.lower = Some(Box::new(Lower {
                            mount: mount.clone(),
                            path: Arc::from(path),
                            whiteouts: BTreeSet::new(),
                        }));
                        Kind::Dir(made)
                    }
                    FileType::Symlink => {
                        Kind::Symlink(Arc::from(mount.fs()?.readlink(&caller, &path)?))
                    }
                    FileType::Regular if without_contents => Kind::File(Content::empty()),
                    FileType::Regular => {
                        Kind::File(Content::from(self.read_lower(cx, &mount, &path)?))
                    }
                    _ => return Err(Errno::ENXIO),
                };
                self.shared.lock().adopt(dir, name, kind, &stat)
            }
            CopyUp::Empty { dir, mount, path } => {
                known.settle(dir);
                let listed = mount.fs()?.readdir(&caller, &path)?;
                self.shared.lock().close_if_hidden(dir, &listed)
            }
        }
    }

    /// The bytes of a file underneath, as far as the VM may have them.
    fn read_lower(&self, cx: &Cx<'_>, mount: &Foreign, path: &[u8]) -> Result<Vec<u8>> {
        let caller = Caller::new(cx);
        let how = OpenHow {
            read: true,
            ..OpenHow::default()
        };
        let file = mount.fs()?.open(&caller, path, how)?;
        let room = self.shared.lock().ledger.bytes_left();
        let mut bytes = Vec::new();
        let mut step = vec![0; STEP];
        loop {
            cx.process.go_on()?;
            let n = file.read_at(&caller, &mut step, bytes.len() as u64)?;
            let n = n.min(step.len());
            if n == 0 {
                return Ok(bytes);
            }
            if (bytes.len() + n) as u64 > room {
                return Err(self.shared.lock().ledger.no_bytes());
            }
            bytes.extend_from_slice(step.get(..n).unwrap_or(&[]));
        }
    }
}
