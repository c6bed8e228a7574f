//! Path text: the byte string that a guest passes, and its lexical forms.
//!
//! There is one parser. Policy and the tree both see what comes out of it, so they cannot disagree.

use crate::errno::{Errno, Result};

/// Longest path, without the terminator that Linux counts in its 4096.
pub const PATH_MAX: usize = 4095;
/// Longest name of one entry.
pub const NAME_MAX: usize = 255;
/// Symbolic links that one lookup may pass through.
pub const LINK_DEPTH_MAX: u32 = 40;

/// A path that is neither empty nor too long and holds no NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPath<'a>(&'a [u8]);

impl<'a> GuestPath<'a> {
    /// Empty is `ENOENT`, a NUL is `EINVAL`, more than [`PATH_MAX`] bytes is `ENAMETOOLONG`.
    pub fn new(bytes: &'a [u8]) -> Result<GuestPath<'a>> {
        if bytes.is_empty() {
            return Err(Errno::ENOENT);
        }
        if bytes.len() > PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if bytes.contains(&0) {
            return Err(Errno::EINVAL);
        }
        Ok(GuestPath(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether it starts at the root.
    #[must_use]
    pub fn is_absolute(self) -> bool {
        self.0.first() == Some(&b'/')
    }
}

/// The absolute path that `path` names from the directory `base`, with `.`, `..` and repeated slashes taken out
/// lexically (links are not looked at). The result has no trailing slash, except for the root itself.
#[must_use]
pub fn normalize(base: &[u8], path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(base.len() + path.len() + 2);
    let absolute = path.first() == Some(&b'/');
    let parts = (if absolute { &[][..] } else { base })
        .split(|b| *b == b'/')
        .chain(path.split(|b| *b == b'/'));
    for part in parts {
        match part {
            b"" | b"." => {}
            b".." => {
                let cut = out.iter().rposition(|b| *b == b'/').unwrap_or(0);
                out.truncate(cut);
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// Whether `ancestor` is a proper ancestor of `path`; both normalized.
pub(crate) fn is_ancestor(ancestor: &[u8], path: &[u8]) -> bool {
    if ancestor == b"/" {
        return path.len() > 1;
    }
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.first() == Some(&b'/'))
}

/// Splits a normalized absolute path into its parent and its last name; the root has an empty name.
pub(crate) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    let cut = path.iter().rposition(|b| *b == b'/').unwrap_or(0);
    let (parent, rest) = path.split_at(cut);
    let name = rest.strip_prefix(b"/").unwrap_or(rest);
    (if parent.is_empty() { b"/" } else { parent }, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_paths() {
        assert_eq!(GuestPath::new(b""), Err(Errno::ENOENT));
        assert_eq!(GuestPath::new(b"a\0b"), Err(Errno::EINVAL));
        assert_eq!(GuestPath::new(&[b'a'; 4096]), Err(Errno::ENAMETOOLONG));
        assert!(GuestPath::new(&[b'a'; 4095]).is_ok());
    }

    #[test]
    fn lexical_forms() {
        assert_eq!(normalize(b"/a/b", b"../c//./d/"), b"/a/c/d");
        assert_eq!(normalize(b"/a", b"/x/../../y"), b"/y");
        assert_eq!(normalize(b"/", b".."), b"/");
        assert_eq!(split_last(b"/a/b"), (&b"/a"[..], &b"b"[..]));
        assert_eq!(split_last(b"/a"), (&b"/"[..], &b"a"[..]));
        assert!(is_ancestor(b"/a", b"/a/b"));
        assert!(!is_ancestor(b"/a", b"/ab"));
        assert!(is_ancestor(b"/", b"/ab"));
    }
}
