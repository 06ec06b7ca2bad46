//! Java's properties files, as text, and `${env:NAME}` in their values.

/// The settings of a file in order of appearance: if a key occurs twice, the later one wins.
///
/// A line is `key=value`, `key: value` or `key value`; `#` and `!` begin a comment line; a backslash at the end of a
/// line joins the next; `\t \n \r \f \uXXXX` stand for characters, any other escaped character for itself.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, PropertiesError> {
    let mut settings = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start_matches(is_blank);
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while ends_in_continuation(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start_matches(is_blank)),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        settings.push((unescape(key, number)?, unescape(value, number)?));
    }
    Ok(settings)
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    #[error("line {line}: \\u must be followed by four hexadecimal digits of a character, found {found:?}")]
    BadUnicode { line: usize, found: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterpolationError {
    #[error("${{env:{name}}}: the environment variable {name} is not set")]
    NotSet { name: String },
    #[error("{value:?}: \"${{env:\" without a closing brace")]
    Unclosed { value: String },
}

/// Replaces every `${env:NAME}`, as Kafka does with `config.providers=env`. The result is not interpolated again.
pub fn interpolate(value: &str, env: impl Fn(&str) -> Option<String>) -> Result<String, InterpolationError> {
    const OPEN: &str = "${env:";
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let unclosed = || InterpolationError::Unclosed { value: value.to_owned() };
        let (name, after) = after.split_once('}').ok_or_else(unclosed)?;
        let found = env(name).ok_or_else(|| InterpolationError::NotSet { name: name.to_owned() })?;
        out.push_str(before);
        out.push_str(&found);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// An odd number of backslashes: the last one is not itself escaped.
fn ends_in_continuation(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

/// The key ends at the first blank, `=` or `:` that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c| {
        let ends = !escaped && (is_blank(c) || c == '=' || c == ':');
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

fn unescape(text: &str, line: usize) -> Result<String, PropertiesError> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            units.extend(c.encode_utf16(&mut [0; 2]).iter());
            continue;
        }
        // A lone backslash at the very end was a continuation, so another character follows.
        let Some(c) = chars.next() else { break };
        match c {
            't' => units.push(u16::from(b'\t')),
            'n' => units.push(u16::from(b'\n')),
            'r' => units.push(u16::from(b'\r')),
            'f' => units.push(0x0C),
            'u' => {
                let digits: String = chars.by_ref().take(4).collect();
                let complete = digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let unit = complete.then(|| u16::from_str_radix(&digits, 16).ok()).flatten();
                units.push(unit.ok_or(PropertiesError::BadUnicode { line, found: digits })?);
            }
            other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
        }
    }
    String::from_utf16(&units).map_err(|_| PropertiesError::BadUnicode { line, found: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_reads() {
        let table = [
            ("a=1", "a", "1"),
            ("  a = 1  ", "a", "1  "),
            ("a:1", "a", "1"),
            ("a 1", "a", "1"),
            ("a", "a", ""),
            ("a==1", "a", "=1"),
            ("a = b:c=d", "a", "b:c=d"),
            (r"a\=b\:c\ d=1", "a=b:c d", "1"),
            (r"a=C:\\dir\tx\n\q", "a", "C:\\dir\tx\nq"),
            (r"a=\u00e9\uD83D\uDE00", "a", "é😀"),
            ("a=x,\\\n    y,\\\n    z", "a", "x,y,z"),
            ("a=x\\\\\n", "a", "x\\"),
            ("a=x\\", "a", "x"),
            ("#c\n!d\n\n   # e\na=1 # not a comment", "a", "1 # not a comment"),
            ("a=1\r\n", "a", "1"),
        ];
        for (text, key, value) in table {
            assert_eq!(parse(text), Ok(vec![(key.to_owned(), value.to_owned())]), "{text:?}");
        }
    }

    #[test]
    fn a_comment_does_not_continue() {
        let parsed = parse("# comment \\\na=1\nb=2").unwrap();
        assert_eq!(parsed.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_broken_escape_names_its_line() {
        for text in ["\na=\\u12", "\na=\\u12xz", "\na=\\u+123", "\na=\\uD83D"] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().starts_with("line 2: "), "{error}");
        }
    }

    #[test]
    fn the_environment_is_inserted_once() {
        let env = |name: &str| match name {
            "HOST" => Some("10.0.0.1".to_owned()),
            "TRICK" => Some("${env:HOST}".to_owned()),
            _ => None,
        };
        assert_eq!(interpolate("A://${env:HOST}:${env:HOST}!", env).unwrap(), "A://10.0.0.1:10.0.0.1!");
        assert_eq!(interpolate("${env:TRICK}", env).unwrap(), "${env:HOST}");
        assert_eq!(interpolate("$HOME ${file:x} {}", env).unwrap(), "$HOME ${file:x} {}");
        assert_eq!(interpolate("${env:NO}", env), Err(InterpolationError::NotSet { name: "NO".to_owned() }));
        assert!(matches!(interpolate("${env:HOST", env), Err(InterpolationError::Unclosed { .. })));
    }
}
