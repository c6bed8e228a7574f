//! Patterns: `*`, `?`, `[...]`, for file names, `case` and `${x%...}`.

/// One character of a pattern and whether it was quoted, which takes its special meaning away.
pub(crate) type Symbol = (char, bool);

/// Whether a pattern has a special character.
pub(crate) fn is_special(pattern: &[Symbol]) -> bool {
    pattern
        .iter()
        .any(|(c, quoted)| !quoted && matches!(c, '*' | '?' | '['))
}

/// Whether the whole of `text` matches. Takes time in the order of both lengths multiplied.
pub(crate) fn matches(pattern: &[Symbol], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    loop {
        match pattern.get(p) {
            Some(('*', false)) => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some(_) => {
                if let Some(c) = text.get(t)
                    && let Some(length) = matches_one(pattern.get(p..).unwrap_or_default(), *c)
                {
                    p += length;
                    t += 1;
                    continue;
                }
            }
            None if t == text.len() => return true,
            None => {}
        }
        let Some((at, taken)) = star.filter(|(_, taken)| *taken < text.len()) else {
            return false;
        };
        star = Some((at, taken + 1));
        (p, t) = (at + 1, taken + 1);
    }
}

/// Whether the first symbol matches `c`; how long it is.
fn matches_one(pattern: &[Symbol], c: char) -> Option<usize> {
    match pattern.first()? {
        ('?', false) => Some(1),
        ('[', false) => match bracket(pattern, c) {
            Some((true, length)) => Some(length),
            Some((false, _)) => None,
            None => (c == '[').then_some(1),
        },
        (plain, _) => (*plain == c).then_some(1),
    }
}

/// Whether a bracket expression has `c`, and its length; `None` when it is none.
fn bracket(pattern: &[Symbol], c: char) -> Option<(bool, usize)> {
    let mut at = 1;
    let negated = matches!(pattern.get(at), Some(('!' | '^', false)));
    if negated {
        at += 1;
    }
    let first = at;
    let mut found = false;
    loop {
        let (low, quoted) = *pattern.get(at)?;
        if low == ']' && !quoted && at > first {
            return Some((found != negated, at + 1));
        }
        if low == '[' && pattern.get(at + 1).is_some_and(|(c, _)| *c == ':') {
            let rest = pattern.get(at + 2..)?;
            let length = rest.iter().position(|(c, _)| *c == ':')?;
            let name: String = rest.get(..length)?.iter().map(|(c, _)| *c).collect();
            found |= class(&name, c);
            at += length + 4;
            continue;
        }
        let range = matches!(pattern.get(at + 1), Some(('-', false)));
        match pattern.get(at + 2) {
            Some((high, quoted)) if range && (*high != ']' || *quoted) => {
                found |= (low..=*high).contains(&c);
                at += 3;
            }
            _ => {
                found |= low == c;
                at += 1;
            }
        }
    }
}

fn class(name: &str, c: char) -> bool {
    match name {
        "alpha" => c.is_alphabetic(),
        "digit" => c.is_ascii_digit(),
        "alnum" => c.is_alphanumeric(),
        "upper" => c.is_uppercase(),
        "lower" => c.is_lowercase(),
        "space" => c.is_whitespace(),
        "blank" => c == ' ' || c == '\t',
        "punct" => c.is_ascii_punctuation(),
        _ => false,
    }
}

/// A pattern of which nothing is quoted.
pub(crate) fn unquoted(text: &str) -> Vec<Symbol> {
    text.chars().map(|c| (c, false)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str) -> bool {
        matches(&unquoted(pattern), &text.chars().collect::<Vec<_>>())
    }

    #[test]
    fn patterns() {
        assert!(
            check("*.js", "a.js") && check("*", "") && check("a?c", "abc") && check("[a-c]x", "bx")
        );
        assert!(
            check("[!a]", "b")
                && check("*a*b*", "xxaxxbxx")
                && check("[]]", "]")
                && check("[[:digit:]]", "5")
        );
        assert!(
            !check("*.js", "a.ts") && !check("?", "") && !check("[a-c]", "d") && !check("a", "ab")
        );
        assert!(check("[a", "[a"));
    }

    #[test]
    fn many_stars_are_quick() {
        let text = "a".repeat(2000);
        assert!(!check(&("*a".repeat(200) + "b"), &text));
    }
}
