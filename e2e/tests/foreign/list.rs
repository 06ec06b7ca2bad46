//! The list of a suite's tests: one name per line, followed by the reason if the test does not count.

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) expected: Expected,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    ToPass,
    /// `retried: REASON`: a race within the client can fail it against any broker.
    Retried(&'static str),
    /// `not yet: REASON`: the broker does not support it so far.
    NotYet(&'static str),
    /// `nothing: REASON`: it would prove nothing about the broker.
    Nothing(&'static str),
}

/// Empty lines and those that begin with `#` are skipped.
pub(crate) fn cases(list: &'static str) -> impl Iterator<Item = Case> {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let expected = match rest.trim_start().split_once(": ") {
            None if rest.is_empty() => Expected::ToPass,
            Some(("retried", reason)) => Expected::Retried(reason),
            Some(("not yet", reason)) => Expected::NotYet(reason),
            Some(("nothing", reason)) => Expected::Nothing(reason),
            _ => panic!("neither a name alone, nor followed by `retried: …`, `not yet: …` or `nothing: …`: {line:?}"),
        };
        Case { name, expected }
    })
}
