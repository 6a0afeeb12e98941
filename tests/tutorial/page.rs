//! The README as blocks of commands and of what they print.

use std::fs;
use std::path::Path;

/// A fenced block.
pub(crate) enum Block {
    /// `sh`: a command a line.
    Commands(Vec<String>),
    /// `text`: what is printed.
    Output(Vec<String>),
}

/// The blocks of a section, in their order.
pub(crate) fn section(title: &str) -> Vec<Block> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = fs::read_to_string(file).unwrap();
    let head = format!("## {title}");
    let mut lines = page.lines().skip_while(|line| *line != head).skip(1);
    let mut blocks = Vec::new();
    while let Some(line) = lines.next().filter(|line| !line.starts_with("## ")) {
        let Some(language) = line.strip_prefix("```") else { continue };
        let inside = lines.by_ref().take_while(|line| *line != "```");
        let inside = inside.map(str::to_owned).collect();
        blocks.push(match language {
            "sh" => Block::Commands(inside),
            "text" => Block::Output(inside),
            other => panic!("{title}: a block of {other:?}: sh or text?"),
        });
    }
    assert!(!blocks.is_empty(), "the README has no commands in a section {title:?}");
    blocks
}

/// A line without what is different each time.
pub(crate) fn timeless(line: &str) -> String {
    let first = line.split_whitespace().next().unwrap_or_default();
    if ["dl-id", "died"].contains(&first) {
        return first.to_owned();
    }
    let is_time = |word: &&str| humantime::parse_rfc3339(word).is_ok();
    let times = line.split(' ').filter(is_time);
    times.fold(line.to_owned(), |line, time| line.replace(time, "TIME"))
}
