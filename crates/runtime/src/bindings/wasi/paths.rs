//! Paths beneath a directory that a program was given.
//!
//! A program names files relative to a descriptor of a directory. What it names must lie beneath that directory: `..` is
//! taken out lexically, and each symbolic link on the way is followed here, by what it says, so that neither leads out.
//! The path that comes out has no link before its last name. The kernel then checks and walks it as it does any path.

use secure_exec_kernel::{Errno as KernelErrno, PATH_MAX};

use super::Call;
use super::errno::{Errno, Outcome};

/// Links that one path may pass through.
const MAX_LINKS: u32 = 32;
/// With so many names it is worth asking for all directories at once whether there is a link among them.
const MANY_NAMES: usize = 3;

type Names = Vec<Box<[u8]>>;

/// A directory: as the program knows it and as the kernel does.
pub struct Directory {
    absolute: bool,
    /// Its normalized path in the program's eyes; begins with `..` where it is relative and leads up.
    mapped: Names,
    real: Vec<u8>,
}

/// What becomes of a link in the last place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It is followed.
    Follow,
    /// It is followed only if the path ends in a slash.
    Link,
    /// Never: the call works on the name itself.
    Entry,
}

/// A path that lies beneath its directory.
pub struct Beneath {
    names: Names,
    slash: bool,
}

fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
}

/// Takes `..` out. Above the root of an absolute path is the root.
fn normalize<'a>(absolute: bool, parts: impl Iterator<Item = &'a [u8]>) -> Names {
    let mut names = Names::new();
    for part in parts {
        if part != b".." {
            names.push(part.into());
            continue;
        }
        match names.last() {
            Some(last) if **last != *b".." => {
                names.pop();
            }
            _ if absolute => {}
            _ => names.push(part.into()),
        }
    }
    names
}

/// The names before the last.
fn parents(names: &[Box<[u8]>]) -> &[Box<[u8]>] {
    names.split_last().map_or(&[], |(_, parents)| parents)
}

fn is_absolute(path: &[u8]) -> bool {
    path.first() == Some(&b'/')
}

impl Directory {
    /// A directory at `real`, called `mapped` by the program.
    pub fn new(mapped: &[u8], real: Vec<u8>) -> Self {
        let absolute = is_absolute(mapped);
        Self {
            absolute,
            mapped: normalize(absolute, parts(mapped)),
            real,
        }
    }

    /// The directory at a path beneath this one.
    pub fn inner(&self, beneath: &Beneath) -> Self {
        let mut mapped = self.mapped.clone();
        mapped.extend(beneath.names.iter().cloned());
        Self {
            absolute: self.absolute,
            mapped,
            real: self.path(&beneath.names, false),
        }
    }

    /// The kernel's path of the directory itself.
    pub fn real(&self) -> &[u8] {
        &self.real
    }

    /// What it holds, roughly, in bytes.
    pub fn cost(&self) -> usize {
        const NAME: usize = size_of::<Box<[u8]>>() + 16;
        let names: usize = self.mapped.iter().map(|name| name.len() + NAME).sum();
        self.real.len() + names
    }

    /// The kernel's path of what lies beneath.
    pub fn real_path(&self, beneath: &Beneath) -> Vec<u8> {
        self.path(&beneath.names, beneath.slash)
    }

    fn path(&self, names: &[Box<[u8]>], slash: bool) -> Vec<u8> {
        let mut path = self.real.clone();
        for name in names {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        if slash && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path
    }

    /// The names of `path`, read from the directory at `from` beneath this one; `ENOTCAPABLE` when it leads out.
    fn names<'a>(
        &self,
        from: &'a [Box<[u8]>],
        path: &'a [u8],
        rest: &'a [Box<[u8]>],
    ) -> Result<Names, Errno> {
        let own = |names: &'a [Box<[u8]>]| names.iter().map(|name| &**name);
        let names = if is_absolute(path) {
            if !self.absolute {
                return Err(Errno::ENOTCAPABLE);
            }
            normalize(true, parts(path).chain(own(rest)))
        } else {
            let base = self.mapped.iter().map(|name| &**name);
            normalize(
                self.absolute,
                base.chain(own(from)).chain(parts(path)).chain(own(rest)),
            )
        };
        let beneath = names
            .strip_prefix(self.mapped.as_slice())
            .ok_or(Errno::ENOTCAPABLE)?;
        if beneath.first().is_some_and(|name| **name == *b"..") {
            return Err(Errno::ENOTCAPABLE);
        }
        Ok(beneath.to_vec())
    }

    /// Whether a link at `at` may say `target`: what it leads to must lie beneath this directory.
    pub fn may_link(&self, at: &Beneath, target: &[u8]) -> Result<(), Errno> {
        self.names(parents(&at.names), target, &[]).map(drop)
    }

    /// Where `path` leads.
    pub fn resolve(&self, call: &Call<'_>, path: &[u8], ending: Ending) -> Outcome<Beneath> {
        if path.is_empty() || path.contains(&0) {
            return Err(Errno::EINVAL.into());
        }
        if is_absolute(path) {
            return Err(Errno::ENOTCAPABLE.into());
        }
        let mut slash = path.ends_with(b"/");
        let mut names = self.names(&[], path, &[])?;
        let mut links = 0;
        // So many names are known to be no links.
        let mut plain = self.plain_parents(call, &names);
        while plain < names.len() {
            call.go_on()?;
            let is_last = plain + 1 == names.len();
            let through = match ending {
                _ if !is_last => true,
                Ending::Follow => true,
                Ending::Link => slash,
                Ending::Entry => false,
            };
            if !through {
                break;
            }
            let (before, after) = names.split_at(plain + 1);
            let here = self.path(before, false);
            if here.len() > PATH_MAX {
                return Err(Errno::ENAMETOOLONG.into());
            }
            let target = match call.kernel.readlink(&call.process, &here) {
                Ok(target) => target,
                Err(KernelErrno::EINVAL) => {
                    plain += 1;
                    continue;
                }
                Err(KernelErrno::ENOENT) if is_last => break,
                Err(errno) => return Err(errno.into()),
            };
            links += 1;
            if links >= MAX_LINKS {
                return Err(Errno::ELOOP.into());
            }
            slash |= is_last && target.ends_with(b"/");
            let from = parents(before);
            let next = self.names(from, &target, after)?;
            plain = next
                .iter()
                .zip(from)
                .take_while(|(new, old)| new == old)
                .count();
            names = next;
        }
        Ok(Beneath { names, slash })
    }

    /// How many names before the last are no links, as far as one question tells.
    fn plain_parents(&self, call: &Call<'_>, names: &[Box<[u8]>]) -> usize {
        if names.len() < MANY_NAMES {
            return 0;
        }
        let parents = parents(names);
        let path = self.path(parents, false);
        match call.kernel.realpath(&call.process, &path) {
            Ok(real) if real == path => parents.len(),
            Ok(_) => 0,
            Err(errno) => {
                let _ = crate::throw::denial_reason(errno);
                0
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn beneath(mapped: &str, path: &str) -> Option<String> {
        let directory = Directory::new(mapped.as_bytes(), b"/real".to_vec());
        let names = directory.names(&[], path.as_bytes(), &[]).ok()?;
        Some(String::from_utf8(directory.path(&names, false)).unwrap())
    }

    #[test]
    fn paths_stay_beneath() {
        let inside =
            |mapped, path, real: &str| assert_eq!(beneath(mapped, path), Some(real.into()));
        let outside = |mapped, path| assert_eq!(beneath(mapped, path), None, "{mapped} {path}");
        for mapped in [
            "/sandbox",
            "sandbox",
            "",
            ".",
            "..",
            "../../x",
            "/a/./b/../c/",
        ] {
            inside(mapped, "file", "/real/file");
            inside(mapped, "a//./b/", "/real/a/b");
            inside(mapped, "missing/../file", "/real/file");
            inside(mapped, ".", "/real");
            outside(mapped, "..");
            outside(mapped, "../file");
            outside(mapped, "a/../../file");
        }
        // What a link may say.
        inside("/sandbox", "/sandbox/a", "/real/a");
        inside("/sandbox", "../sandbox/a", "/real/a");
        outside("/sandbox", "/sandboxes/a");
        outside("/sandbox", "/etc/passwd");
        outside("/sandbox", "/sandbox/../etc");
        outside("sandbox", "/sandbox/a");
        inside("/", "../../a", "/real/a");
        inside("/", "/a", "/real/a");
    }

    #[test]
    fn links_are_judged_from_where_they_are() {
        let directory = Directory::new(b"/s", b"/r".to_vec());
        let at = |path: &str| Beneath {
            names: directory.names(&[], path.as_bytes(), &[]).unwrap(),
            slash: false,
        };
        assert!(directory.may_link(&at("d/l"), b"../f").is_ok());
        assert!(directory.may_link(&at("l"), b"../f").is_err());
        assert!(directory.may_link(&at("l"), b"/s/f").is_ok());
        let inner = directory.inner(&at("d/e"));
        assert_eq!(inner.real(), b"/r/d/e");
        assert!(inner.names(&[], b"../f", &[]).is_err());
        assert!(inner.names(&[], b"/s/d/e/f", &[]).is_ok());
    }
}
