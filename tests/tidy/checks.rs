//! The checks themselves, on files that break each rule.

use super::*;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.into() }
}

#[test]
fn imports_upwards_and_sideways_are_found() {
    let text = "use crate::mqtt::{QoS, Message};
use crate::{
auth::{self, Acl},
store::Log,
time,
};
fn f() -> crate::session::Session { super::super::net::f(); super::mqtt() }
// crate::server
";
    let found = check_floors(&source("src/router/trie.rs", text));
    let places: Vec<&str> = found.iter().map(|line| &line[..line.find('(').unwrap()]).collect();
    assert_eq!(
        places,
        [
            "src/router/trie.rs:2: `auth` is not below `router` ",
            "src/router/trie.rs:2: `store` is not below `router` ",
            "src/router/trie.rs:7: `session` is not below `router` ",
            "src/router/trie.rs:7: `net` is not below `router` ",
        ]
    );
    let sideways = check_floors(&source("src/router/mod.rs", "use super::auth::Acl;"));
    assert_eq!(sideways.len(), 1);
    assert_eq!(check_floors(&source("src/novel.rs", "")).len(), 1, "it has no floor");
}

#[test]
fn long_files_functions_and_lines_are_found() {
    let line = "    let x: [u8; 2] = f(';', \"}\");\n";
    let with_lines = |count| format!("fn long(a: [u8; 3])\n{{\n{}}}\n", line.repeat(count));
    let short = source("src/time.rs", &with_lines(67));
    assert_eq!(check_sizes(&short), [""; 0]);
    let found = check_sizes(&source("src/time.rs", &format!("\n{}", with_lines(68))));
    assert_eq!(found, ["src/time.rs:2: fn long has 71 lines, 70 allowed: split it"]);

    let many = "const A: u8 = 1;\n\n".repeat(501);
    let found = check_sizes(&source("src/time.rs", &many));
    assert_eq!(found, ["src/time.rs:1: 501 lines of code, 500 allowed: split by idea"]);
    let tests = format!("const A: u8 = 1;\n#[cfg(test)]\nmod tests {{\n{many}}}\n");
    assert_eq!(check_sizes(&source("src/time.rs", &tests)), [""; 0]);

    let long = format!("// {}\n// ü {}\n// ü {}", "x".repeat(99), "é".repeat(95), "x".repeat(96));
    let found = check_line_lengths(&source("src/time.rs", &long));
    assert_eq!(found, ["src/time.rs:3: 101 characters, 100 allowed: break the line"]);
}

#[test]
fn words_are_found_where_they_are_banned() {
    let text = "fn f<'a>(x: &'a str) { x.unwrap(); \"todo!\"; '\"'; dbg!(1); }
use redb::Database; fn g() { println!(); Instant::now(); my_redb(); } // FIXME
/* dbg!() */ r#\"dbg!() \" \"#;
";
    let found = |path| {
        let found = check_words(&source(path, text));
        let words = found.iter().map(|line| line.split('`').nth(1).unwrap().to_owned());
        words.collect::<Vec<_>>().join(" ")
    };
    let everywhere = "dbg! .unwrap()";
    assert_eq!(
        found("src/broker/mod.rs"),
        format!("{everywhere} Instant::now redb println! FIXME")
    );
    assert_eq!(found("src/store/log.rs"), format!("{everywhere} println! FIXME"));
    assert_eq!(found("src/app/mod.rs"), format!("{everywhere} redb FIXME"));
    assert_eq!(found("src/main.rs"), format!("{everywhere} redb FIXME"));
}

#[test]
fn names_and_paths_are_found() {
    for path in ["src/utils.rs", "src/net/types.rs", "tests/common/mod.rs"] {
        assert!(check_name(&source(path, "")).is_some(), "{path}");
    }
    assert_eq!(check_name(&source("src/net/tls.rs", "")), None);
    let text = format!("a\ncd {}main\n", MACHINE_PATHS[0]);
    let found = check_machine_paths(&source("README.md", &text));
    assert!(found[0].starts_with("README.md:2: "), "{found:?}");
}

#[test]
fn what_only_tests_use_is_known() {
    let text = "pub mod a;\n#[cfg(test)]\nmod rig;\n#[cfg(test)]\nmod tests {\n}\n";
    let files = [source("src/broker/mod.rs", text), source("src/time.rs", text)];
    let found: Vec<String> = test_modules(&files).into_iter().collect();
    assert_eq!(found, ["broker/rig", "time/rig"]);
}
