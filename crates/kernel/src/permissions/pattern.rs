//! Globs over bytes, compiled once and matched in linear time.
//!
//! `*` and `?` never match `/`; `**` does. A pattern that ends in `/**` also matches what stands before it, so that
//! `/data/**` is the directory and all that is in it. Matching is byte-exact: no case, no Unicode form is changed.

use globset::{Candidate, Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::ConfigError;

/// Longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// Most patterns of one rule.
const MAX_PATTERNS: usize = 1000;

/// Everything below, and the place itself.
const BELOW: &str = "/**";

/// Some globs of which one has to match.
#[derive(Clone, Debug)]
pub(super) struct Patterns(GlobSet);

impl Patterns {
    /// Compiles `patterns`, which come from the option `option`.
    pub fn new<'p>(
        patterns: impl IntoIterator<Item = &'p str>,
        option: &str,
    ) -> Result<Patterns, ConfigError> {
        let mut set = GlobSetBuilder::new();
        for (index, pattern) in patterns.into_iter().enumerate() {
            let refused =
                |reason: &str| ConfigError::new(format!("{option}[{index}]"), reason, pattern);
            if index >= MAX_PATTERNS {
                return Err(refused("is one pattern too many (1000 for a rule)"));
            }
            if pattern.is_empty() || pattern.len() > MAX_PATTERN {
                return Err(refused("must have 1 to 4096 bytes"));
            }
            let compile = |text: &str| {
                glob(text).map_err(|error| refused(&format!("is not a glob: {}", error.kind())))
            };
            set.add(compile(pattern)?);
            if let Some(place) = pattern.strip_suffix(BELOW) {
                set.add(compile(if place.is_empty() { "/" } else { place })?);
            }
        }
        let set = set
            .build()
            .map_err(|error| ConfigError::new(option.to_owned(), &error.to_string(), ""))?;
        Ok(Patterns(set))
    }

    /// Whether one of them matches all of `subject`.
    pub fn matches(&self, subject: &[u8]) -> bool {
        self.0.is_match_candidate(&Candidate::from_bytes(subject))
    }
}

fn glob(text: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(&without_separators(text))
        .literal_separator(true)
        .backslash_escape(true)
        .empty_alternates(true)
        .build()
}

/// Adds `/` to what `[!...]` excludes. The library lets such a class match it; one that lists `/` says so itself.
fn without_separators(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '[']) {
        let (before, tail) = rest.split_at(at);
        result.push_str(before);
        // The escape with what it escapes, or a class up to what may be its first literal `]`.
        let mut taken: usize = tail.chars().take(2).map(char::len_utf8).sum();
        let is_negated = tail.starts_with("[!") || tail.starts_with("[^");
        let is_class = tail.starts_with('[');
        if is_class && !is_negated {
            taken = 1;
        }
        if is_class && tail.get(taken..).is_some_and(|tail| tail.starts_with(']')) {
            taken += 1;
        }
        let (head, tail) = tail.split_at(taken);
        result.push_str(head);
        if is_negated {
            result.push_str("/-/");
        }
        let end = if is_class {
            tail.find(']').map_or(tail.len(), |end| end + 1)
        } else {
            0
        };
        let (class, tail) = tail.split_at(end);
        result.push_str(class);
        rest = tail;
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, subject: &str) -> bool {
        Patterns::new([pattern], "paths").is_ok_and(|patterns| patterns.matches(subject.as_bytes()))
    }

    #[test]
    fn a_star_stays_in_its_directory() {
        assert!(matches("/data/*", "/data/x"));
        assert!(!matches("/data/*", "/data/x/y"));
        assert!(!matches("/data/*", "/data2"));
        assert!(!matches("/a?b", "/a/b"));
        assert!(!matches("/data/[!x]y", "/data//y"));
        assert!(!matches("/data[!x]y", "/data/y"));
        assert!(!matches("/data[^]-]y", "/data/y"));
        assert!(matches("/data[!]-]y", "/data+y"));
        assert!(!matches("/data[!]-]y", "/data]y"));
        assert!(!matches("/data[!]-]y", "/data-y"));
        assert!(matches("/data\\[!x]y", "/data[!x]y"));
        assert!(matches("/data/**/y", "/data/a/b/y"));
        assert!(matches("/data/**/y", "/data/y"));
    }

    #[test]
    fn two_stars_at_the_end_cover_the_place_itself() {
        assert!(matches("/data/**", "/data"));
        assert!(matches("/data/**", "/data/a/b"));
        assert!(!matches("/data/**", "/data2"));
        assert!(!matches("/data/**", "/dat"));
        assert!(matches("/**", "/"));
        assert!(matches("/**", "/x"));
    }

    #[test]
    fn bytes_are_compared_as_they_are() {
        assert!(!matches("/Data/*", "/data/x"));
        assert!(!matches("/caf\u{e9}", "/cafe\u{301}"));
        assert!(matches("/caf\u{e9}", "/caf\u{e9}"));
        assert!(
            Patterns::new(["/x/*"], "paths").is_ok_and(|patterns| patterns.matches(b"/x/\xff"))
        );
        assert!(matches("/a/\\*", "/a/*"));
        assert!(!matches("/a/\\*", "/a/b"));
        assert!(matches("/a/{b,c/d}", "/a/c/d"));
    }

    #[test]
    fn what_is_no_glob_is_refused() {
        for pattern in ["", "/a[", "/a{b", &"x".repeat(MAX_PATTERN + 1)] {
            assert!(Patterns::new([pattern], "paths").is_err(), "{pattern}");
        }
        let many = vec!["/x"; MAX_PATTERNS + 1];
        assert!(Patterns::new(many, "paths").is_err());
    }

    #[test]
    fn matching_takes_linear_time() {
        // A backtracking matcher needs more than a lifetime for this.
        let pattern = format!("/{}b", "*a".repeat(30));
        let subject = format!("/{}", "a".repeat(20_000));
        assert!(!matches(&pattern, &subject));
        let pattern = format!("/{}b", "**/a/".repeat(20));
        let subject = "/a".repeat(10_000);
        assert!(!matches(&pattern, &subject));
    }
}
