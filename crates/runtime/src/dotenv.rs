//! The grammar of `.env` files, as Node reads them. Source of behaviour: `src/node_dotenv.cc`.

use std::collections::BTreeMap;

/// What Node trims around keys and values.
const SPACES: &[char] = &[' ', '\t', '\n'];

fn trim(text: &str) -> &str {
    text.trim_matches(SPACES)
}

/// `text` after the first newline at or after `from`; empty when there is none.
fn after_line(text: &str, from: usize) -> &str {
    let rest = text.get(from..).unwrap_or_default();
    rest.split_once('\n').map_or("", |(_, rest)| rest)
}

/// The variables of a file's contents, sorted by name.
pub fn parse(input: &str) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let lines = input.replace('\r', "");
    let mut content = trim(&lines);
    while let Some(first) = content.chars().next() {
        if first == '\n' || first == '#' {
            content = after_line(content, 0);
            continue;
        }
        let Some(end) = content.find(['=', '\n']) else {
            break;
        };
        let (key, rest) = content.split_at(end);
        if rest.starts_with('\n') {
            content = trim(rest);
            continue;
        }
        content = rest.get(1..).unwrap_or_default();
        let mut key = trim(key);
        if content.is_empty() || content.starts_with('\n') {
            variables.insert(key.to_owned(), String::new());
            continue;
        }
        content = trim(content);
        if key.is_empty() {
            continue;
        }
        if let Some(exported) = key.strip_prefix("export ") {
            key = trim(exported);
        }
        let Some(quote) = content.chars().next() else {
            variables.insert(key.to_owned(), String::new());
            break;
        };
        if matches!(quote, '"' | '\'' | '`') {
            let quoted = content.get(1..).unwrap_or_default();
            if let Some(length) = quoted.find(quote) {
                let value = quoted.get(..length).unwrap_or_default();
                let value = if quote == '"' {
                    value.replace("\\n", "\n")
                } else {
                    value.to_owned()
                };
                variables.insert(key.to_owned(), value);
                content = after_line(quoted, length + 1);
                continue;
            }
            let value = content.lines().next().unwrap_or_default();
            variables.insert(key.to_owned(), value.to_owned());
        } else {
            let line = content.split('\n').next().unwrap_or_default();
            let value = line.split('#').next().unwrap_or_default();
            variables.insert(key.to_owned(), trim(value).to_owned());
        }
        content = trim(after_line(content, 0));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn pairs(input: &str) -> Vec<(String, String)> {
        parse(input).into_iter().collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn reads_plain_quoted_and_exported() {
        assert_eq!(
            pairs("A=1 # one\nexport B = 'x # y'\nC=\"a\\nb\"\n# no\nD=`q`"),
            [
                pair("A", "1"),
                pair("B", "x # y"),
                pair("C", "a\nb"),
                pair("D", "q")
            ]
        );
    }

    #[test]
    fn keeps_an_unclosed_quote() {
        assert_eq!(pairs("A=\"x\nB=2"), [pair("A", "\"x"), pair("B", "2")]);
    }
}
