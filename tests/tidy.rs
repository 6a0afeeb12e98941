//! The house rules that a program can check: what may import what, sizes, names and words.
//! Every finding is `file:line: what is wrong, what to do instead`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use scan::{functions, imports, mask, words};

#[path = "tidy/checks.rs"]
mod checks;
#[path = "tidy/scan.rs"]
mod scan;

/// A module imports only from floors below its own, and from itself.
const FLOORS: [(u32, &[&str]); 11] = [
    (10, &["main", "app"]),
    (9, &["bridge", "admin"]),
    (8, &["server"]),
    (7, &["net"]),
    (6, &["store"]),
    (5, &["broker"]),
    (4, &["session", "router", "auth"]),
    (3, &["turn"]),
    (2, &["config", "metrics"]),
    (1, &["mqtt"]),
    (0, &["time", "dead_reason"]),
];

/// Below it: no IO, no clock, no randomness of the operating system.
const FIRST_IMPURE_FLOOR: u32 = 6;

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;
const MAX_LINE_CHARS: usize = 100;

/// Names that say nothing about what is inside.
const BANNED_NAMES: [&str; 4] = ["utils", "types", "common", "helpers"];

/// Where a word must not stand.
#[derive(Clone, Copy)]
enum Where {
    Anywhere,
    BelowStore,
    OutsideStore,
    OutsideApp,
}

/// A word of code, where it is banned, and what stands there instead.
const BANNED_WORDS: [(&str, Where, &str); 18] = [
    ("todo!", Where::Anywhere, "write it, or return an error"),
    ("unimplemented!", Where::Anywhere, "write it, or return an error"),
    ("dbg!", Where::Anywhere, "use tracing::debug!"),
    (".unwrap()", Where::Anywhere, "use expect(\"why it cannot happen\"), or an error"),
    ("thread::sleep", Where::BelowStore, "ask for a timeout with next_timeout"),
    ("Instant::now", Where::BelowStore, "take a Timestamp as argument"),
    ("SystemTime", Where::BelowStore, "take a Timestamp or WallClock as argument"),
    ("HashMap::new", Where::BelowStore, "use BTreeMap, or foldhash with the core's seed"),
    ("HashSet::new", Where::BelowStore, "use BTreeSet, or foldhash with the core's seed"),
    ("RandomState", Where::BelowStore, "use foldhash's FixedState with the core's seed"),
    ("SystemRandom", Where::BelowStore, "take the random bytes as argument"),
    ("std::fs", Where::BelowStore, "take the text as argument"),
    ("tokio", Where::BelowStore, "leave the runtime to the floors above"),
    ("redb", Where::OutsideStore, "go through the store"),
    ("println!", Where::OutsideApp, "use tracing"),
    ("print!", Where::OutsideApp, "use tracing"),
    ("eprintln!", Where::OutsideApp, "use tracing"),
    ("eprint!", Where::OutsideApp, "use tracing"),
];

/// Split in two, so that this file passes its own check.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/tmp/ba", "sh_jobs"),
    concat!("/tmp/", "kq"),
    concat!("/ro", "ot/"),
];

/// A file of the repository.
struct Source {
    /// From the top of the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// The path below `src`, without `.rs` and `mod`: `["auth", "acl"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|name| *name != "mod").collect()
    }

    fn in_src(&self) -> bool {
        self.path.starts_with("src/") && self.path.ends_with(".rs")
    }

    /// The part in front of the tests, with spaces for comments and literals.
    fn code(&self) -> String {
        let masked = mask(&self.text);
        let mut kept = String::new();
        let mut lines = masked.lines().peekable();
        while let Some(line) = lines.next() {
            let tests = lines.peek().is_some_and(|next| next.starts_with("mod tests"));
            if line == "#[cfg(test)]" && tests {
                break;
            }
            kept.push_str(line);
            kept.push('\n');
        }
        kept
    }
}

#[test]
fn imports_go_down() {
    report(product().iter().flat_map(check_floors));
}

#[test]
fn files_and_functions_are_short() {
    report(product().iter().flat_map(check_sizes));
}

#[test]
fn lines_are_short() {
    let files = repository();
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    report(rust.flat_map(check_line_lengths));
}

#[test]
fn names_say_what_is_inside() {
    report(repository().iter().filter_map(check_name));
}

#[test]
fn words_are_those_of_the_house() {
    report(product().iter().flat_map(check_words));
}

#[test]
fn no_path_of_a_developers_machine() {
    report(repository().iter().flat_map(check_machine_paths));
}

/// Fails with all findings at once.
fn report(findings: impl Iterator<Item = String>) {
    let findings: Vec<String> = findings.collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

fn check_floors(file: &Source) -> Vec<String> {
    let module = file.module();
    let Some(own) = floor(module[0]) else {
        let what = format!("module `{}` has no floor: add it to FLOORS", module[0]);
        return vec![format!("{}:1: {what}", file.path)];
    };
    let code = file.code();
    let check = |(at, target): (usize, String)| {
        let lower = floor(&target).is_some_and(|floor| floor < own);
        let place = place(file, &code, at);
        let what = format!("`{target}` is not below `{}` (floor {own})", module[0]);
        (target != module[0] && !lower)
            .then(|| format!("{place}: {what}: hand it down as an argument, or move the code"))
    };
    imports(&code, module.len()).into_iter().filter_map(check).collect()
}

fn check_sizes(file: &Source) -> Vec<String> {
    let code = file.code();
    let mut findings = Vec::new();
    let lines = file.text.lines().take(code.lines().count());
    let lines = lines.filter(|line| !line.trim().is_empty()).count();
    if lines > MAX_FILE_LINES {
        let what = format!("{lines} lines of code, {MAX_FILE_LINES} allowed: split by idea");
        findings.push(format!("{}:1: {what}", file.path));
    }
    for (at, name, lines) in functions(&code) {
        if lines > MAX_FUNCTION_LINES {
            let what = format!("fn {name} has {lines} lines, {MAX_FUNCTION_LINES} allowed");
            findings.push(format!("{}: {what}: split it", place(file, &code, at)));
        }
    }
    findings
}

fn check_line_lengths(file: &Source) -> Vec<String> {
    let too_long = |(index, line): (usize, &str)| {
        let chars = line.chars().count();
        let content = line.trim().trim_start_matches(['/', '!']).trim();
        // An address, or a vector of a test: there is no place to break it.
        let one_word = !content.contains(char::is_whitespace);
        (chars > MAX_LINE_CHARS && !one_word).then(|| {
            let what = format!("{chars} characters, {MAX_LINE_CHARS} allowed: break the line");
            format!("{}:{}: {what}", file.path, index + 1)
        })
    };
    file.text.lines().enumerate().filter_map(too_long).collect()
}

fn check_name(file: &Source) -> Option<String> {
    let stems = file.path.split('/').map(|name| name.split('.').next().unwrap_or(name));
    let banned = stems.into_iter().find(|stem| BANNED_NAMES.contains(stem))?;
    let what = format!("`{banned}` says nothing: name the file after the idea in it");
    Some(format!("{}:1: {what}", file.path))
}

fn check_words(file: &Source) -> Vec<String> {
    let module = file.module()[0].to_owned();
    let code = file.code();
    let mut findings = Vec::new();
    for (word, place_of_ban, instead) in BANNED_WORDS {
        let banned = match place_of_ban {
            Where::Anywhere => true,
            Where::BelowStore => floor(&module).is_some_and(|own| own < FIRST_IMPURE_FLOOR),
            Where::OutsideStore => module != "store",
            Where::OutsideApp => !["main", "app"].contains(&&*module),
        };
        for at in words(&code, word).filter(|_| banned) {
            findings.push(format!("{}: `{word}`: {instead}", place(file, &code, at)));
        }
    }
    for at in words(&file.text, "FIXME") {
        let place = place(file, &file.text, at);
        findings.push(format!("{place}: `FIXME`: mend it, or say what the limit is"));
    }
    findings
}

fn check_machine_paths(file: &Source) -> Vec<String> {
    let on_line = |(index, line): (usize, &str)| {
        let path = MACHINE_PATHS.iter().find(|path| line.contains(**path))?;
        let what = format!("`{path}…` exists on one machine only: use a relative path");
        Some(format!("{}:{}: {what}", file.path, index + 1))
    };
    file.text.lines().enumerate().filter_map(on_line).collect()
}

fn floor(module: &str) -> Option<u32> {
    let on = FLOORS.iter().find(|(_, modules)| modules.contains(&module));
    on.map(|(floor, _)| *floor)
}

/// `path:line` of a byte of the file's code.
fn place(file: &Source, code: &str, at: usize) -> String {
    format!("{}:{}", file.path, code[..at].matches('\n').count() + 1)
}

/// What is built into the product: no tests, nothing that only tests use.
fn product() -> Vec<Source> {
    let files: Vec<Source> = repository().into_iter().filter(Source::in_src).collect();
    let tests = test_modules(&files);
    let is_product = |file: &Source| {
        let module = file.module();
        let for_tests = (1..=module.len()).any(|len| tests.contains(&module[..len].join("/")));
        module != ["lib"] && !for_tests
    };
    let product: Vec<Source> = files.into_iter().filter(is_product).collect();
    assert!(product.len() > 10, "the files are not where they were");
    product
}

/// Modules that are declared behind `#[cfg(test)]`, as `router/trie/tests`.
fn test_modules(files: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files {
        let lines: Vec<&str> = file.text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0].trim() == "#[cfg(test)]") {
            let declared = pair[1].trim().strip_suffix(';');
            if let Some((_, name)) = declared.and_then(|text| text.split_once("mod ")) {
                let mut module = file.module();
                module.retain(|part| *part != "lib");
                module.push(name);
                found.insert(module.join("/"));
            }
        }
    }
    found
}

/// All texts of the repository that somebody wrote.
fn repository() -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "examples", "certs"] {
        walk(&top.join(folder), &mut paths);
    }
    let at_top = entries(top).into_iter();
    // In a linked work tree `.git` is a file.
    let written = |path: &PathBuf| !path.ends_with("Cargo.lock") && !path.ends_with(".git");
    paths.extend(at_top.filter(|path| path.is_file() && written(path)));
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?; // what is no text has no lines to check
        let path = path.strip_prefix(top).expect("it was found below");
        let path = path.to_string_lossy().replace('\\', "/");
        Some(Source { path, text })
    };
    paths.into_iter().filter_map(read).collect()
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        let name = path.file_name().map_or(&[][..], |name| name.as_encoded_bytes());
        // Not ours: tests/.venv is Python's, node_modules is npm's.
        let is_installed = name.starts_with(b".") || name == b"node_modules";
        if path.is_dir() {
            if !is_installed {
                walk(&path, paths);
            }
        } else {
            paths.push(path);
        }
    }
}

/// What is in a folder; nothing when it is not there.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.expect("a readable folder").path()).collect()
}
