use super::*;

/// Written by mosquitto_passwd 2.0.11, as Debian has it; passwords in [`PASSWORDS`].
const FILE: &str = "\
# a comment: with a colon

alice:$7$101$lBt0gHOlAcLZZ4hZ$XlXWLRMjMoSC0oxEuqpXR/xj1IG+suaU77tBrkfMTqjnfQWAF2jeoUE7h4CAZbhl7K9DXabYsibKcydusmtkPA==
bob:$7$101$BpXB7XarFK8xSeqT$ecRTamy0VtEna/9gGlC2CzlwfJD6opltsLNS9q6858kDmgxa+KJ7w0m2S4trcvaWPLRZpQNuGdFAj429GrOJAg==
carol:$6$hBOFzUA6lIvCBCq8$UtA0+8GJTmzdu6RemGlAF2OZKQEJRhoVAgECUQOJAVFXLdBQXMLvVpbhmQCV6Olqy89ww4++Jrcays9dX+HjLg==
dave:$7$101$YAv7mjo7COZO2z2Y$nITabE8/H0KW1qDfh3AQGh9atWjZ3s81TOl0NxU7qked4viS5Ob6VQwj91RI3mJnpujftHFtDO/rf1KG/RwvMQ==
erin:$7$5$d1sU4KGKXHCcwkIg$aTS1f2WHtCkJhIhoWIalN09GmGhOIejVYAMFEkQTZrfFETt9vqM49nAhWR516AFf8eYUoS1tJlqGnrkvrZ9I9g==
";

const PASSWORDS: [(&str, &str); 5] = [
    ("alice", "wonderland"),
    ("bob", "pässwörd with spaces"),
    ("carol", "secret"),
    ("dave", ""),
    ("erin", "x"),
];

/// From the reference implementation's own tests: password "password", salt "somesalt".
const ARGON2ID: [&str; 2] = [
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
    "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
];

fn only_problem(text: &str) -> LineProblem {
    let (_, mut problems) = Passwords::parse(text);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn verifies_what_mosquitto_passwd_wrote() {
    for text in [FILE.to_owned(), FILE.replace('\n', "\r\n")] {
        let (passwords, problems) = Passwords::parse(&text);
        assert_eq!(problems, []);
        assert_eq!(passwords.len(), PASSWORDS.len());
        for (user, password) in PASSWORDS {
            let hash = passwords.find(user).unwrap();
            assert!(hash.verify(password.as_bytes()), "{user}");
            assert!(!hash.verify(b"another"), "{user}");
            assert!(!hash.verify(format!("{password}x").as_bytes()), "{user}");
        }
    }
}

#[test]
fn verifies_argon2id() {
    for hash in ARGON2ID {
        let (passwords, problems) = Passwords::parse(&format!("frank:{hash}\n"));
        assert_eq!(problems, []);
        let hash = passwords.find("frank").unwrap();
        assert!(hash.verify(b"password"));
        assert!(!hash.verify(b"differentpassword"));
    }
}

#[test]
fn the_longest_salts_work() {
    let (salt, mut key) = ([7; 64], vec![0; 64]);
    let params = Params::new(16, 1, 1, Some(64)).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(b"pw", &salt, &mut key).unwrap();
    let (salt, key) = (BASE64_STANDARD.encode(salt), BASE64_STANDARD.encode(key));
    let line = format!("u:$argon2id$v=19$m=16,t=1,p=1${salt}${key}");
    let (passwords, problems) = Passwords::parse(&line);
    assert_eq!(problems, []);
    assert!(passwords.find("u").unwrap().verify(b"pw"));
}

/// A line that can't be used; what is said about it.
const BAD: [(&str, &str); 13] = [
    ("alice", "no ':'"),
    (":$7$101$AAAA$AAAA", "no user name"),
    ("u:", "not a hash"),
    ("u:secret", "not a hash"),
    ("u:$2y$10$abcdefghijklmnopqrstuv", "unknown hash $2y$"),
    ("u:$6$AAAA", "cut off"),
    ("u:$6$AAAA$AAAA", "has 3 bytes"),
    ("u:$6$!!!!$AAAA", "salt is not base64"),
    ("u:$7$0$AAAA$AAAA", "iterations"),
    ("u:$7$99999999$AAAA$AAAA", "iterations"),
    ("u:$argon2id$v=20$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgL", "version"),
    ("u:$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgL", "parameters"),
    ("u:$argon2id$v=19$m=256,t=2,p=1$c29t$nf65EOgL", "salt is too short"),
];

#[test]
fn a_bad_line_is_named_and_the_rest_works() {
    for (line, why) in BAD {
        let (passwords, problems) = Passwords::parse(&format!("{line}\n{FILE}"));
        assert_eq!(problems.len(), 1, "{line}");
        assert_eq!(problems[0].line, 1, "{line}");
        assert!(problems[0].problem.contains(why), "{line}: {}", problems[0]);
        assert!(passwords.find("u").is_none(), "{line}");
        assert!(passwords.find("erin").unwrap().verify(b"x"), "{line}");
    }
}

#[test]
fn a_problem_shows_no_hash() {
    let problem = only_problem("u:$6$c2VjcmV0\n");
    assert_eq!(
        problem.to_string(),
        "line 1: the hash is cut off or has too many parts: \
         set the password of \"u\" again with `kedgemq passwd`"
    );
    let (passwords, _) = Passwords::parse(FILE);
    let shown = format!("{:?}", passwords.find("carol"));
    assert_eq!(shown, "Some(PasswordHash(…))");
}

#[test]
fn the_first_of_two_lines_counts() {
    let first = hash_line("u", b"first", b"saltsaltsalt", 1);
    let second = hash_line("u", b"second", b"saltsaltsalt", 1);
    let text = format!("{first}\n{second}\n");
    assert_eq!(only_problem(&text).line, 2);
    let (passwords, _) = Passwords::parse(&text);
    assert!(passwords.find("u").unwrap().verify(b"first"));
}

#[test]
fn hash_lines_are_those_of_mosquitto_passwd() {
    let line = FILE.lines().find(|line| line.starts_with("alice")).unwrap();
    let salt = BASE64_STANDARD.decode("lBt0gHOlAcLZZ4hZ").unwrap();
    let salt: [u8; 12] = salt.try_into().unwrap();
    assert_eq!(hash_line("alice", b"wonderland", &salt, 101), line);
}

#[test]
fn user_names_that_would_break_the_file() {
    for bad in ["", "a:b", "a\nb", "a\rb", "#a", " a", "a ", "\0"] {
        assert!(user_name_problem(bad).is_some(), "{bad:?}");
    }
    for good in ["a", "a b", "a#b", "ü", "$a", "a$b"] {
        assert_eq!(user_name_problem(good), None, "{good:?}");
    }
}

/// The file before; the file with `bob:NEW`; without bob (`=`: no such user).
const EDITS: [(&str, &str, &str); 8] = [
    ("", "bob:NEW\n", "="),
    ("# c\n\na:1", "# c\n\na:1\nbob:NEW\n", "="),
    ("a:1\nbob:2\nc:3\n", "a:1\nbob:NEW\nc:3\n", "a:1\nc:3\n"),
    ("bob:2", "bob:NEW\n", ""),
    ("a:1\r\nbob:2\r\nc:3\r\n", "a:1\r\nbob:NEW\r\nc:3\r\n", "a:1\r\nc:3\r\n"),
    ("#bob:2\nbobby:1\nBob:1\n", "#bob:2\nbobby:1\nBob:1\nbob:NEW\n", "="),
    ("bob:2\na:1\nbob:3\n", "bob:NEW\na:1\n", "a:1\n"),
    ("bob\nbroken line\n", "bob\nbroken line\nbob:NEW\n", "="),
];

#[test]
fn edits_touch_only_the_users_line() {
    for (before, with, without) in EDITS {
        assert_eq!(with_user(before, "bob", "bob:NEW"), with, "{before:?}");
        let removed = without_user(before, "bob");
        assert_eq!(removed.as_deref().unwrap_or("="), without, "{before:?}");
    }
}
