//! The normative statements of both specifications: for each the tests that prove it, or why a
//! server cannot be tested for it. `statements/*.txt` are the tables: the statement's number,
//! what it asks in our words, then `module::test, …` or `untestable: why`. A module without a
//! folder is one of these; all others are named from the top of the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Tests by the file that they stand in, without `.rs`.
type Tests = BTreeMap<String, BTreeSet<String>>;

/// One specification's statements.
struct Specification {
    name: &'static str,
    /// Section, first and last number in it, as the specification counts.
    numbers: &'static [(&'static str, u32, u32)],
    count: usize,
    table: &'static str,
}

const V5: Specification = Specification {
    name: "MQTT 5.0",
    numbers: &[
        ("1.5.4", 1, 3),
        ("1.5.5", 1, 1),
        ("1.5.7", 1, 1),
        ("2.1.3", 1, 1),
        ("2.2.1", 2, 6),
        ("2.2.2", 1, 1),
        ("3.1.0", 1, 2),
        ("3.1.2", 1, 30),
        ("3.1.3", 1, 12),
        ("3.1.4", 1, 6),
        ("3.2.0", 1, 2),
        ("3.2.2", 1, 22),
        ("3.3.1", 1, 13),
        ("3.3.2", 1, 20),
        ("3.3.4", 1, 10),
        ("3.4.2", 1, 3),
        ("3.5.2", 1, 3),
        ("3.6.1", 1, 1),
        ("3.6.2", 1, 3),
        ("3.7.2", 1, 3),
        ("3.8.1", 1, 1),
        ("3.8.3", 1, 5),
        ("3.8.4", 1, 8),
        ("3.9.2", 1, 2),
        ("3.9.3", 1, 2),
        ("3.10.1", 1, 1),
        ("3.10.3", 1, 2),
        ("3.10.4", 1, 6),
        ("3.11.2", 1, 2),
        ("3.11.3", 1, 2),
        ("3.12.4", 1, 1),
        ("3.14.0", 1, 1),
        ("3.14.1", 1, 1),
        ("3.14.2", 1, 4),
        ("3.14.4", 1, 3),
        ("3.15.1", 1, 1),
        ("3.15.2", 1, 3),
        ("4.1.0", 1, 2),
        ("4.2", 1, 1),
        ("4.3.1", 1, 1),
        ("4.3.2", 1, 5),
        ("4.3.3", 1, 13),
        ("4.4.0", 1, 2),
        ("4.5.0", 1, 2),
        ("4.6.0", 1, 6),
        ("4.7.0", 1, 1),
        ("4.7.1", 1, 2),
        ("4.7.2", 1, 1),
        ("4.7.3", 1, 4),
        ("4.8.2", 1, 6),
        ("4.9.0", 1, 3),
        ("4.12.0", 1, 7),
        ("4.12.1", 1, 2),
        ("4.13.1", 1, 1),
        ("4.13.2", 1, 1),
        ("6.0.0", 1, 4),
    ],
    count: 251,
    table: include_str!("statements/mqtt-5.0.txt"),
};

const V311: Specification = Specification {
    name: "MQTT 3.1.1",
    numbers: &[
        ("1.5.3", 1, 3),
        ("2.2.2", 1, 2),
        ("2.3.1", 1, 7),
        ("3.1.0", 1, 2),
        ("3.1.2", 1, 24),
        ("3.1.3", 1, 11),
        ("3.1.4", 1, 5),
        ("3.2.0", 1, 1),
        ("3.2.2", 1, 6),
        ("3.3.1", 1, 12),
        ("3.3.2", 1, 3),
        ("3.3.4", 1, 1),
        ("3.3.5", 1, 2),
        ("3.6.1", 1, 1),
        ("3.8.1", 1, 1),
        ("3.8.3", 1, 4),
        ("3.8.4", 1, 6),
        ("3.9.3", 1, 2),
        ("3.10.1", 1, 1),
        ("3.10.3", 1, 2),
        ("3.10.4", 1, 6),
        ("3.12.4", 1, 1),
        ("3.14.1", 1, 1),
        ("3.14.4", 1, 3),
        ("4.1.0", 1, 2),
        ("4.3.1", 1, 1),
        ("4.3.2", 1, 2),
        ("4.3.3", 1, 2),
        ("4.4.0", 1, 1),
        ("4.5.0", 1, 2),
        ("4.6.0", 1, 6),
        ("4.7.1", 1, 3),
        ("4.7.2", 1, 1),
        ("4.7.3", 1, 4),
        ("4.8.0", 1, 2),
        ("6.0.0", 1, 4),
        ("7.0.0", 1, 2),
        ("7.1.1", 1, 1),
        ("7.1.2", 1, 1),
    ],
    count: 141,
    table: include_str!("statements/mqtt-3.1.1.txt"),
};

/// One line of a table.
struct Statement<'a> {
    number: &'a str,
    says: &'a str,
    proof: &'a str,
}

impl<'a> Statement<'a> {
    fn parse(line: &'a str) -> Result<Self, String> {
        let [number, says, proof] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            return Err(format!("not `number | what | proof`: {line}"));
        };
        Ok(Self { number, says, proof })
    }

    /// Why a server cannot be tested for it.
    fn untestable(&self) -> Option<&'a str> {
        self.proof.strip_prefix("untestable:").map(str::trim)
    }

    fn problems(&self, tests: &Tests) -> Vec<String> {
        let number = self.number;
        if self.says.is_empty() {
            return vec![format!("{number} does not say what it asks")];
        }
        if let Some(why) = self.untestable() {
            return why.is_empty().then(|| format!("{number} has no reason")).into_iter().collect();
        }
        if self.proof.is_empty() {
            return vec![format!("{number} has neither test nor reason")];
        }
        let names = self.proof.split(',').map(str::trim);
        let unknown = names.filter(|name| !exists(name, tests));
        unknown.map(|name| format!("{number} names `{name}`, which is no test")).collect()
    }
}

impl Specification {
    fn lines(&self) -> impl Iterator<Item = &'static str> {
        self.table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
    }

    fn expected(&self) -> Vec<String> {
        let mut expected = Vec::new();
        for (section, first, last) in self.numbers {
            expected.extend((*first..=*last).map(|number| format!("{section}-{number}")));
        }
        expected
    }

    fn problems(&self, tests: &Tests) -> Vec<String> {
        let expected = self.expected();
        let mut missing: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
        let mut problems = Vec::new();
        for line in self.lines() {
            match Statement::parse(line) {
                Err(problem) => problems.push(problem),
                Ok(statement) if !missing.remove(statement.number) => {
                    problems.push(format!("{} is unknown, or stands twice", statement.number));
                }
                Ok(statement) => problems.extend(statement.problems(tests)),
            }
        }
        problems.extend(missing.iter().map(|number| format!("{number} is missing")));
        problems
    }

    /// How many statements have a test.
    fn tested(&self) -> usize {
        let statements = self.lines().filter_map(|line| Statement::parse(line).ok());
        statements.filter(|statement| statement.untestable().is_none()).count()
    }
}

fn exists(name: &str, tests: &Tests) -> bool {
    let Some((module, test)) = name.split_once("::") else {
        return false;
    };
    let module = match module.contains('/') {
        true => module.to_owned(),
        false => format!("tests/conformance/{module}"),
    };
    tests.get(&module).is_some_and(|tests| tests.contains(test))
}

/// All tests that are run, of the whole repository.
fn all_tests() -> Tests {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Tests::new();
    for folder in ["src", "tests"] {
        walk(top, &top.join(folder), &mut found);
    }
    found
}

fn walk(top: &Path, folder: &Path, found: &mut Tests) {
    for entry in fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy();
        if path.is_dir() && !name.starts_with('.') {
            walk(top, &path, found);
        } else if name.ends_with(".rs") {
            let module = path.strip_prefix(top).expect("it was found below").with_extension("");
            let module = module.to_string_lossy().replace('\\', "/");
            found.insert(module, tests_of(&fs::read_to_string(&path).expect("text")));
        }
    }
}

/// The names of the functions that are tests, but for ignored ones.
fn tests_of(text: &str) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let mut attributes = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push(line);
            continue;
        }
        let is_test = attributes.iter().any(|a| *a == "#[test]" || a.starts_with("#[tokio::test"));
        let is_ignored = attributes.iter().any(|a| a.starts_with("#[ignore"));
        attributes.clear();
        let name = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some((name, _)) =
            name.filter(|_| is_test && !is_ignored).and_then(|n| n.split_once('('))
        {
            tests.insert(name.to_owned());
        }
    }
    tests
}

#[test]
fn each_has_a_test_or_a_reason() {
    let tests = all_tests();
    for specification in [V5, V311] {
        assert_eq!(specification.expected().len(), specification.count, "{}", specification.name);
        let problems = specification.problems(&tests);
        assert!(problems.is_empty(), "{}:\n{}\n", specification.name, problems.join("\n"));
    }
}

/// So that the number in a test's name is the right one.
#[test]
fn a_test_that_is_named_by_a_number_proves_it() {
    let mut problems = Vec::new();
    for (module, names) in all_tests() {
        let module = module.strip_prefix("tests/conformance/").unwrap_or(&module);
        for name in names {
            let Some((specification, number)) = number_in(&name) else {
                continue;
            };
            let mut statements = specification.lines().filter_map(|l| Statement::parse(l).ok());
            let statement = statements.find(|statement| statement.number == number);
            let test = format!("{module}::{name}");
            if !statement.is_some_and(|s| s.proof.split(", ").any(|proof| proof == test)) {
                problems.push(format!("{number} does not name {test}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}\n", problems.join("\n"));
}

/// `mqtt_3_1_0_2_…` is 3.1.0-2 of 5.0, `mqtt311_…` of 3.1.1.
fn number_in(name: &str) -> Option<(Specification, String)> {
    let (specification, rest) = match name.strip_prefix("mqtt311_") {
        Some(rest) => (V311, rest),
        None => (V5, name.strip_prefix("mqtt_")?),
    };
    let parts: Vec<&str> = rest.split('_').collect();
    let is_number = |part: &&str| part.chars().all(|c| c.is_ascii_digit());
    let [a, b, c, d] = *parts.get(..4).filter(|four| four.iter().all(is_number))? else {
        return None;
    };
    Some((specification, format!("{a}.{b}.{c}-{d}")))
}

/// `tests/run` shows what it prints.
#[test]
fn they_are_counted() {
    println!();
    let (mut tested, mut count) = (0, 0);
    for specification in [V5, V311] {
        let (name, all) = (specification.name, specification.count);
        println!("{name}: {} of {all} statements tested", specification.tested());
        tested += specification.tested();
        count += all;
    }
    println!("both: {tested} of {count} statements tested");
    assert!(tested > count / 2, "the tables are not where they were");
}

#[test]
fn a_table_with_holes_is_found_out() {
    let tests = Tests::from([
        ("tests/conformance/alias".into(), BTreeSet::from(["one".into()])),
        ("src/mqtt/codec".into(), BTreeSet::from(["two".into()])),
    ]);
    let problems = |table| {
        let numbers = &[("1.1", 1, 2)];
        Specification { name: "x", numbers, count: 2, table }.problems(&tests)
    };
    let good = "# a\n\n1.1-1 | a | alias::one, src/mqtt/codec::two\n1.1-2 | b | untestable: client";
    assert_eq!(problems(good), [""; 0]);
    for (table, problem) in [
        ("1.1-1 | a | alias::one", "1.1-2 is missing"),
        ("1.1-1 | a | alias::one\n1.1-2 | b |", "1.1-2 has neither test nor reason"),
        ("1.1-1 | a | alias::one\n1.1-2 | b | untestable:", "1.1-2 has no reason"),
        ("1.1-1 | a | alias::one\n1.1-2 | | alias::one", "1.1-2 does not say what it asks"),
        ("1.1-2 | a | alias::one\n1.1-1", "not `number | what | proof`: 1.1-1"),
    ] {
        assert!(problems(table).contains(&problem.to_owned()), "{table}: {:?}", problems(table));
    }
    for (line, problem) in [
        ("1.1-2 | b | alias::one", "1.1-2 is unknown, or stands twice"),
        ("1.1-3 | b | alias::one", "1.1-3 is unknown, or stands twice"),
    ] {
        assert_eq!(problems(format!("{good}\n{line}").leak()), [problem]);
    }
    for name in ["alias::two", "shared::one", "one", "src/mqtt/codec::one", "alias::one alias::one"]
    {
        let table = format!("1.1-1 | a | {name}\n1.1-2 | b | alias::one");
        assert_eq!(problems(table.leak()), [format!("1.1-1 names `{name}`, which is no test")]);
    }
}

#[test]
fn only_functions_that_are_run_are_tests() {
    let text = "
#[test]
fn plain() {}
fn helper() {}
#[tokio::test(flavor = \"multi_thread\")]
async fn asynchronous() {}
#[test]
#[should_panic]
fn panics() {}
#[test]
#[ignore = \"slow\"]
fn ignored() {}
// #[test]
fn spoken_of() {}
";
    assert_eq!(tests_of(text).into_iter().collect::<Vec<_>>(), ["asynchronous", "panics", "plain"]);
}
