//! What no compiler checks: the shape of the repository. Each rule reports all violations.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use protocol::config::{Effect, Scope, options};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const ROOT: [&str; 15] = [
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "broker",
    "charts",
    "crds",
    "e2e",
    "operator",
];

/// Not part of the repository: made by git and cargo, or listed in `.gitignore`.
const MADE: [&str; 3] = [".git", "target", "millrace-data"];

/// The modules of the broker, low to high. Each may only use those before it.
const BROKER_MODULES: [&str; 14] = [
    "bugs",
    "clock",
    "failure",
    "metrics",
    "config",
    "metadata",
    "peer",
    "coordinator",
    "replica",
    "controller",
    "handlers",
    "server",
    "launch",
    "main",
];

/// The packages that each package may use.
const ARROWS: [(&str, &[&str]); 8] = [
    ("broker/protocol", &[]),
    ("broker/storage", &["protocol"]),
    ("broker/raft", &["protocol"]),
    ("broker/raft/simulation", &["protocol", "raft"]),
    ("broker/fuzz", &["protocol", "storage"]),
    ("broker", &["protocol", "storage", "raft"]),
    ("operator", &["protocol"]),
    ("e2e", &["protocol", "operator"]),
];
const PACKAGES: [&str; 8] = ["protocol", "storage", "raft", "raft-simulation", "fuzz", "broker", "operator", "e2e"];

/// How code of the operator could reach Kubernetes, the machine or the clock, as words.
const OPERATOR_IO: &[&str] =
    &["Client", "Api", "tokio", "std::fs", "std::net", "Timestamp::now", "Instant::now", "SystemTime::now"];

/// Code without IO: a path, and the words that its files must not contain.
const PURE: [(&str, &[&str]); 17] = [
    ("broker/protocol/src", &["tokio", "std::fs", "std::net"]),
    ("broker/storage/src", &["tokio", "std::net"]),
    ("broker/raft/src", &["tokio", "std::fs", "std::net", "Instant::now", "SystemTime::now"]),
    ("broker/src/metadata", &["tokio", "std::fs", "std::net"]),
    ("broker/src/coordinator/group", &["tokio", "std::fs", "std::net", "Instant::now", "SystemTime::now"]),
    ("operator/src/plan", OPERATOR_IO),
    ("operator/src/validate", OPERATOR_IO),
    ("operator/src/status", OPERATOR_IO),
    ("operator/src/render", OPERATOR_IO),
    ("operator/src/brokers", OPERATOR_IO),
    ("operator/src/restart", OPERATOR_IO),
    ("operator/src/voters", OPERATOR_IO),
    ("operator/src/manifest", OPERATOR_IO),
    ("operator/src/names", OPERATOR_IO),
    ("operator/src/options", OPERATOR_IO),
    ("operator/src/notice", OPERATOR_IO),
    ("operator/src/quantity", OPERATOR_IO),
];

/// Files of the broker that start threads or tasks without `Failures`, since their panic ends nothing but what they
/// were started for; and those that watch what they start in a way of their own.
const UNWATCHED: [&str; 6] = [
    "broker/src/failure.rs",
    "broker/src/handlers/large_batches.rs",
    "broker/src/peer/connection.rs",
    "broker/src/peer/resolver.rs",
    "broker/src/replica/cleaner.rs",
    "broker/src/server/startup.rs",
];

const README_LINES_MAX: usize = 150;
const MODULE_HEADER_LINES_MAX: usize = 25;
const FILE_LINES_MAX: usize = 500;
const COMMENT_COLUMNS_MAX: usize = 120;

#[test]
fn the_root_holds_exactly_what_was_agreed() {
    let names = fs::read_dir(WORKSPACE).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<_> = names.filter(|name| !MADE.contains(&name.as_str())).collect();
    let agreed = ROOT.map(str::to_owned).into();
    assert_nothing("in the root, but not agreed", found.difference(&agreed));
    assert_nothing("agreed, but not in the root", agreed.difference(&found));
}

#[test]
fn modules_of_the_broker_use_only_lower_ones() {
    let mut wrong = Vec::new();
    for file in rust_files("broker/src") {
        let module = module_of(&file);
        let Some(height) = height(&module) else {
            if module != "lib" {
                wrong.push(format!("{}: {module} is not in the table of modules", shown(&file)));
            }
            continue;
        };
        let higher = modules_used(&read(&file)).into_iter().filter(|(_, used)| height < *used);
        wrong.extend(higher.map(|(used, _)| format!("{}: uses crate::{used}, which stands above it", shown(&file))));
    }
    assert_nothing("modules out of order", wrong);
}

#[test]
fn packages_use_only_what_the_arrows_allow() {
    let mut wrong = Vec::new();
    for (package, allowed) in ARROWS {
        let Ok(manifest) = fs::read_to_string(workspace(package).join("Cargo.toml")) else { continue };
        let dependencies = manifest.lines().skip_while(|line| !line.starts_with("[dependencies]")).skip(1);
        for line in dependencies.take_while(|line| !line.starts_with('[')) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if PACKAGES.contains(&name) && !allowed.contains(&name) {
                wrong.push(format!("{package} depends on {name}"));
            }
        }
    }
    assert_nothing("dependencies between packages that the design does not have", wrong);
}

#[test]
fn pure_code_does_no_io() {
    let mut wrong = Vec::new();
    for (place, forbidden) in PURE {
        let files: Vec<_> = rust_files(place).into_iter().filter(|file| !is_test(file)).collect();
        if files.is_empty() {
            wrong.push(format!("{place}: there is no such code"));
        }
        for file in files {
            let text = read(&file);
            let found = words_found(&text, forbidden);
            wrong.extend(found.into_iter().map(|(number, word)| format!("{}:{number}: {word}", shown(&file))));
        }
    }
    assert_nothing("IO in code that is to be pure", wrong);
}

#[test]
fn what_the_broker_relies_on_is_watched() {
    let starts = ["thread::Builder", "thread::spawn(", "tokio::spawn("];
    let mut wrong = Vec::new();
    for file in rust_files("broker/src").into_iter().filter(|file| !is_test(file)) {
        if UNWATCHED.contains(&shown(&file).as_str()) {
            continue;
        }
        let text = read(&file);
        let lines = production_lines(&text).into_iter().filter(|(_, line)| !line.contains(".watched("));
        let found = lines.filter(|(_, line)| starts.iter().any(|start| line.contains(start)));
        wrong.extend(found.map(|(number, line)| format!("{}:{number}: {}", shown(&file), line.trim())));
    }
    assert_nothing("threads and tasks whose panic nobody would notice", wrong);
}

#[test]
fn nothing_is_left_unfinished() {
    // In two parts, so that this file does not violate the rule.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["todo", "!("], ["#[ig", "nore"], ["macro_", "rules!"]]
        .map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for file in text_files(&workspace("")) {
        let text = read(&file);
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(mark) = marks.iter().find(|mark| has_word(line, mark)) {
                wrong.push(format!("{}:{number}: {mark}", shown(&file)));
            }
        }
    }
    assert_nothing("unfinished", wrong);
}

#[test]
fn files_and_headers_stay_readable() {
    let mut wrong = Vec::new();
    for file in rust_files("") {
        let text = read(&file);
        let header = text.lines().take_while(|line| line.starts_with("//!")).count();
        if MODULE_HEADER_LINES_MAX < header {
            wrong.push(format!("{}: {header} lines of header, at most {MODULE_HEADER_LINES_MAX}", shown(&file)));
        }
        // Code is left to the formatter.
        let comments = (1..).zip(text.lines()).filter(|(_, line)| line.trim_start().starts_with("//"));
        wrong.extend(
            comments
                .map(|(number, line)| (number, line.chars().count()))
                .filter(|(_, columns)| COMMENT_COLUMNS_MAX < *columns)
                .map(|(number, columns)| format!("{}:{number}: {columns} columns", shown(&file))),
        );
        let lines = text.lines().count();
        if FILE_LINES_MAX < lines {
            wrong.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", shown(&file)));
        }
    }
    let readme = read(&workspace("README.md")).lines().count();
    if README_LINES_MAX < readme {
        wrong.push(format!("README.md: {readme} lines, at most {README_LINES_MAX}"));
    }
    assert_nothing("too long", wrong);
}

/// An option counts as effective in the table if and only if some code reads it.
#[test]
fn an_option_has_an_effect_if_and_only_if_it_is_read() {
    let files = ["broker/src", "broker/storage/src"].map(rust_files).concat();
    let settings_of_dev = workspace("broker/src/config/source.rs");
    let texts = files.iter().filter(|file| !is_test(file) && **file != settings_of_dev).map(|file| read(file));
    let code: String =
        texts.map(|text| production_lines(&text).into_iter().map(|(_, line)| line).collect::<String>()).collect();
    let is_read = |name: &str| code.contains(&format!("\"{name}\""));
    let checks = read(&workspace("broker/protocol/src/config/safety.rs"));
    let mut wrong = Vec::new();
    for scope in [Scope::Broker, Scope::Topic, Scope::Group, Scope::ClientMetrics] {
        for option in options(scope) {
            // A broker's option may be read as the default of a topic's or group's.
            let heirs = [Scope::Topic, Scope::Group].into_iter().flat_map(options);
            let mut heirs = heirs.filter(|heir| heir.synonyms.iter().any(|synonym| synonym.name == option.name));
            let inherited = scope == Scope::Broker && heirs.any(|heir| is_read(heir.name));
            match option.effect {
                Effect::Active if !(is_read(option.name) || inherited || checks.contains(option.name)) => {
                    wrong.push(format!("{scope:?} {}: has an effect, but nothing reads it", option.name));
                }
                Effect::Later | Effect::AcceptedIgnored if is_read(option.name) || inherited => {
                    wrong.push(format!("{scope:?} {}: has no effect, but something reads it", option.name));
                }
                _ => {}
            }
        }
    }
    assert_nothing("options whose row in the table is wrong", wrong);
}

fn assert_nothing<T: ToString>(what: &str, found: impl IntoIterator<Item = T>) {
    let found: Vec<_> = found.into_iter().map(|item| item.to_string()).collect();
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// `broker/src/replica/manager.rs` is in `replica`, `broker/src/main.rs` is `main`.
fn module_of(file: &Path) -> String {
    let relative = file.strip_prefix(workspace("broker/src")).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").trim_end_matches("_test").to_owned()
}

fn height(module: &str) -> Option<usize> {
    BROKER_MODULES.iter().position(|name| *name == module)
}

/// Modules of the table that occur after `crate::`, alone or in a group, with their position.
fn modules_used(text: &str) -> Vec<(String, usize)> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let uses = code.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => top_level_names(group),
        None => vec![first_name(rest)],
    });
    uses.filter_map(|name| height(&name).map(|height| (name, height))).collect()
}

/// The first segments of the paths in a `use` group, up to its closing brace.
fn top_level_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut start) = (0_usize, Vec::new(), 0);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(first_name(group[start..at].trim()));
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(first_name(group[start..at].trim()));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

/// Lines with one of the words, counted from 1, without comments and tests.
fn words_found<'a>(text: &str, words: &'a [&str]) -> Vec<(usize, &'a str)> {
    let found = |(number, line)| words.iter().filter(move |word| has_word(line, word)).map(move |word| (number, *word));
    production_lines(text).into_iter().flat_map(found).collect()
}

/// Lines without comments and items that are for tests only, counted from 1.
fn production_lines(text: &str) -> Vec<(usize, &str)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = (1..).zip(text.lines());
    let mut found = Vec::new();
    while let Some((number, line)) = lines.next() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            // The formatter puts the end of an item where it began.
            lines.by_ref().find(|(_, end)| indent(end) == indent(line) && end.ends_with([';', ',', '}']));
        } else if !line.trim_start().starts_with("//") {
            found.push((number, line));
        }
    }
    found
}

fn is_test(file: &Path) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.ends_with("_test") || ["testing", "simulated"].contains(&&*stem)
}

/// Whether it occurs as a whole word: the escape `\u` with its four X does not count.
fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !is_letter(before.chars().next_back()) && (word.ends_with('(') || !is_letter(after.chars().next()))
    })
}

/// Rust files at or below a path of the workspace; none if it does not exist.
fn rust_files(place: &str) -> Vec<PathBuf> {
    let place = workspace(place);
    let files = text_files(&place).into_iter().chain(text_files(&place.with_extension("rs")));
    files.filter(|file| file.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn text_files(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let entries = entries.map(|entry| entry.unwrap());
    let wanted = entries.filter(|entry| !MADE.contains(&entry.file_name().to_string_lossy().as_ref()));
    wanted.flat_map(|entry| text_files(&entry.path())).filter(|file| fs::read_to_string(file).is_ok()).collect()
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap()
}

fn workspace(path: &str) -> PathBuf {
    Path::new(WORKSPACE).canonicalize().unwrap().join(path)
}

fn shown(file: &Path) -> String {
    file.strip_prefix(workspace("")).unwrap_or(file).display().to_string()
}

#[test]
fn uses_of_modules_are_found() {
    let text =
        "use crate::{config::{A, B}, server};\n// crate::main\nlet x = crate::replica::Y;\nuse crate::elsewhere::Z;";
    let names: Vec<_> = modules_used(text).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["config", "server", "replica"]);
}

#[test]
fn words_are_found_wherever_they_stand_outside_of_tests() {
    let text = "#[cfg(test)]\nmod testing;\n\nuse kube::{Client, ResourceExt};\n// Client\nuse kube::api::Api;\n\
                struct ClientId;\nimpl A {\n    #[cfg(test)]\n    fn a() {\n        Api::all();\n    }\n\n    \
                fn b() {\n        Timestamp::now();\n    }\n}\n#[cfg(test)]\nmod tests {\n    use kube::Client;\n}\n\
                use std::fs;\n";
    let found = words_found(text, OPERATOR_IO);
    assert_eq!(found, [(4, "Client"), (6, "Api"), (15, "Timestamp::now"), (22, "std::fs")]);
}
