use super::*;
use Access::{Publish, Receive};

const FILE: &str = "\
# rights of the plant
topic read news/#
topic deny news/secret

user alice
topic plain
topic read readonly/+
topic write   writeonly/#
topic deny readonly/b
topic readwrite living room/lamp one

user bob smith
topic readwrite #
topic deny private/#
topic read $SYS/#

pattern readwrite devices/%c/#
pattern read users/%u/in
pattern deny users/%u/in/locked
pattern write mixed/x-%u-%c-y/+
pattern read all/+
pattern deny devices/+/firmware
";

fn acl() -> Acl {
    Acl::parse(FILE).unwrap()
}

fn who<'a>(user: &'a str, client_id: &'a str) -> Who<'a> {
    Who { user: Some(user).filter(|user| *user != "-"), client_id }
}

/// user (-: anonymous); client id; topic; granted: p to publish, r to receive
const GRANTS: &str = "
    -         ; c1    ; news/today              ; r
    -         ; c1    ; news                    ; r
    -         ; c1    ; news/secret             ; -
    -         ; c1    ; plain                   ; -
    -         ; c1    ; all/x                   ; r
    -         ; c1    ; all/x/y                 ; -
    -         ; c1    ; users//in               ; -
    -         ; c1    ; users/-/in              ; -
    -         ; c1    ; devices/c1              ; pr
    -         ; c1    ; devices/c1/a/b          ; pr
    -         ; c1    ; devices/c2/a            ; -
    -         ; c1    ; devices/c1/firmware     ; -
    -         ; c1    ; devices/%c/a            ; -
    alice     ; c1    ; news/today              ; -
    alice     ; c1    ; plain                   ; pr
    alice     ; c1    ; plain/x                 ; -
    alice     ; c1    ; readonly/a              ; r
    alice     ; c1    ; readonly/b              ; -
    alice     ; c1    ; writeonly/a/b           ; p
    alice     ; c1    ; living room/lamp one    ; pr
    alice     ; c1    ; users/alice/in          ; r
    alice     ; c1    ; users/bob/in            ; -
    alice     ; c1    ; users/alice/in/locked   ; -
    alice     ; c1    ; mixed/x-alice-c1-y/z    ; p
    alice     ; c1    ; mixed/x-alice-c2-y/z    ; -
    alice     ; c1    ; $SYS/uptime             ; -
    bob smith ; c1    ; anything/at/all         ; pr
    bob smith ; c1    ; private/x               ; -
    bob smith ; c1    ; private                 ; -
    bob smith ; c1    ; devices/c2/firmware     ; -
    bob smith ; c1    ; $SYS/uptime             ; r
    bob smith ; c1    ; $dead/rejected/x        ; -
    bob smith ; c1    ; $SYSTEM                 ; -
    nobody    ; c1    ; plain                   ; -
    nobody    ; c1    ; news/today              ; -
    nobody    ; c1    ; devices/c1/x            ; pr
    nobody    ; c1    ; users/nobody/in         ; r
";

#[test]
fn grants() {
    let acl = acl();
    for row in GRANTS.lines().filter(|row| !row.trim().is_empty()) {
        let columns: Vec<&str> = row.split(';').map(str::trim).collect();
        let [user, client_id, topic, granted] = columns[..] else {
            panic!("four columns: {row}");
        };
        let who = who(user, client_id);
        assert_eq!(acl.allows(who, Publish, topic), granted.contains('p'), "publish {row}");
        assert_eq!(acl.allows(who, Receive, topic), granted.contains('r'), "receive {row}");
    }
}

#[test]
fn nothing_is_granted_by_an_empty_file() {
    for text in ["", "\n\n", "# topic readwrite #\n", "user alice\n"] {
        let acl = Acl::parse(text).unwrap();
        assert!(!acl.allows(who("alice", "c"), Receive, "a"));
        assert!(!acl.allows(who("-", "c"), Publish, "a"));
        assert!(!acl.covers(who("alice", "c"), "a"));
    }
}

#[test]
fn a_name_widens_no_grant() {
    let acl = Acl::parse("pattern readwrite d/%c/x\npattern readwrite u/%u/x").unwrap();
    for bad in ["+", "#", "a/b", "a+", "#a", "/", "+/+"] {
        for topic in ["d/a/x", "u/a/x", "d/a/b/x", "u/a/b/x", "d/a", "d/+/x", "u/#/x"] {
            assert!(!acl.allows(who(bad, bad), Receive, topic), "{bad} {topic}");
        }
        assert!(acl.allows(who(bad, "me"), Receive, "d/me/x"), "the other name is fine");
        assert!(acl.allows(who("me", bad), Receive, "u/me/x"), "the other name is fine");
        assert!(!acl.covers(who(bad, bad), "d/a/x"));
    }
    assert!(acl.allows(who("-", "%u"), Receive, "d/%u/x"), "a name is put in once");
    assert!(!acl.allows(who("%c", "me"), Receive, "u/me/x"), "a name is put in once");
}

#[test]
fn a_name_escapes_no_denial() {
    let text = "topic readwrite d/#\npattern deny d/%c/secret";
    let acl = Acl::parse(text).unwrap();
    assert!(!acl.allows(who("-", "a"), Receive, "d/a/secret"));
    assert!(acl.allows(who("-", "a"), Receive, "d/b/secret"));
    assert!(!acl.allows(who("-", "a/b"), Receive, "d/a/b/secret"));
    assert!(!acl.covers(who("-", "a/b"), "d/a/b/secret"));
}

#[test]
fn dollar_topics_need_a_line_that_spells_them_out() {
    let text = "topic readwrite #\ntopic readwrite +/#\ntopic readwrite +/uptime
        pattern readwrite #\npattern readwrite %c/#\npattern readwrite $%c/#\npattern read $dead/#";
    let acl = Acl::parse(text).unwrap();
    for client_id in ["$SYS", "SYS", "x"] {
        let who = who("-", client_id);
        for access in [Publish, Receive] {
            assert!(!acl.allows(who, access, "$SYS/uptime"), "{client_id}");
            assert!(acl.allows(who, access, "x/uptime"));
        }
        assert!(!acl.covers(who, "$SYS/#"));
        assert!(!acl.covers(who, "$SYS/uptime"));
        assert!(acl.allows(who, Receive, "$dead/expired/x"));
        assert!(!acl.allows(who, Publish, "$dead/expired/x"));
        assert!(acl.covers(who, "$dead/expired/+"));
    }
    let all = Acl::parse("topic readwrite #").unwrap();
    assert!(!all.allows(who("-", "x"), Receive, "$dead/expired/x"));
}

/// lines, ` | ` between; filter; covered?
const COVERED: &str = "
    a/b                     ; a/b     ; yes
    a/b                     ; a/c     ; no
    a/b                     ; a/+     ; no
    a/b                     ; a/b/#   ; no
    a/b                     ; #       ; no
    a/+                     ; a/b     ; yes
    a/+                     ; a/+     ; yes
    a/+                     ; a/#     ; no
    a/+                     ; a       ; no
    a/+                     ; a/b/c   ; no
    a/#                     ; a       ; yes
    a/#                     ; a/b     ; yes
    a/#                     ; a/+     ; yes
    a/#                     ; a/#     ; yes
    a/#                     ; a/+/#   ; yes
    a/#                     ; +/b     ; no
    a/+/#                   ; a/#     ; no
    a/+/#                   ; a/b/#   ; yes
    #                       ; #       ; yes
    #                       ; +/+     ; yes
    +/#                     ; #       ; yes
    +/#                     ; a       ; yes
    +/+/#                   ; #       ; no
    #                       ; $SYS/#  ; no
    $SYS/#                  ; $SYS/+  ; yes
    $SYS/#                  ; #       ; no
    write a/#               ; a/b     ; no
    read a/#                ; a/b     ; yes
    a/# | deny a/b          ; a/#     ; no
    a/# | deny a/b          ; a/+     ; no
    a/# | deny a/b          ; a/c     ; yes
    a/# | deny +/b          ; a/+     ; no
    a/# | deny a/b/c/#      ; a/+     ; yes
    a/# | deny a/b/#        ; a/+     ; no
    a/# | deny a/b/#        ; a/b/x   ; no
    a/# | deny #            ; a/b     ; no
    a/# | deny x            ; a/#     ; yes
    # | deny $SYS/#         ; #       ; yes
    $SYS/# | deny #         ; $SYS/+  ; yes
";

#[test]
fn covered_filters() {
    for row in COVERED.lines().filter(|row| !row.trim().is_empty()) {
        let columns: Vec<&str> = row.split(';').map(str::trim).collect();
        let [lines, filter, covered] = columns[..] else {
            panic!("three columns: {row}");
        };
        for kind in ["topic", "pattern"] {
            let text = lines.split(" | ").map(|line| format!("{kind} {line}\n"));
            let acl = Acl::parse(&text.collect::<String>()).unwrap();
            assert_eq!(acl.covers(who("-", "c"), filter), covered == "yes", "{kind} {row}");
        }
    }
}

#[test]
fn patterns_cover_a_clients_own() {
    let acl = acl();
    assert!(acl.covers(who("alice", "c1"), "devices/c1/data/#"));
    assert!(!acl.covers(who("alice", "c1"), "devices/c1/#"), "its firmware is denied");
    assert!(!acl.covers(who("alice", "c1"), "devices/c2/data/#"));
    assert!(!acl.covers(who("alice", "c1"), "mixed/x-alice-c1-y/+"), "only for writing");
}

/// All paths of up to three levels out of `names`, with `#` only at the end.
fn paths(names: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    for _ in 1..3 {
        let longer: Vec<String> = all
            .iter()
            .filter(|path| !path.ends_with('#'))
            .flat_map(|path| names.iter().map(move |name| format!("{path}/{name}")))
            .collect();
        all.extend(longer);
        all.sort();
        all.dedup();
    }
    all
}

#[test]
fn within_and_overlap_agree_with_all_topics() {
    let filters = paths(&["a", "$b", "+", "#"]);
    // "c" stands for the names that no filter knows, a fourth level for all that is deeper.
    let mut topics = paths(&["a", "$b", "c"]);
    let deeper: Vec<String> = topics.iter().map(|topic| format!("{topic}/c")).collect();
    topics.extend(deeper);
    let matched: Vec<Vec<bool>> = filters
        .iter()
        .map(|filter| topics.iter().map(|topic| topic::matches(topic, filter)).collect())
        .collect();
    for (a, in_a) in filters.iter().zip(&matched) {
        for (b, in_b) in filters.iter().zip(&matched) {
            let both = in_a.iter().zip(in_b).any(|(x, y)| *x && *y);
            assert_eq!(overlap(a, b), both, "{a} and {b}");
            let within = in_a.iter().zip(in_b).all(|(x, y)| !*x || *y);
            assert_eq!(is_within(a, b), within, "{a} in {b}");
        }
    }
}

/// A bad line; what is said about it.
const BAD: [(&str, &str); 9] = [
    ("topics a", "\"topics\" is none of `user`, `topic`, `pattern`"),
    ("topic", "no topic filter behind `topic`"),
    ("pattern  ", "no topic filter behind `pattern`"),
    ("user", "no name behind `user`"),
    ("topic raed a/b", "\"raed\" is none of"),
    ("topic living room/x", "`topic readwrite living room/x`"),
    ("topic read a/#/b", "\"a/#/b\" is no topic filter"),
    ("topic a+", "\"a+\" is no topic filter"),
    ("pattern write %u#", "\"%u#\" is no topic filter"),
];

#[test]
fn a_bad_line_is_an_error_that_says_what_to_do() {
    for (line, why) in BAD {
        let problem = Acl::parse(&format!("# c\n\ntopic a\n{line}\ntopic b\n")).unwrap_err();
        assert_eq!(problem.line, 4, "{line}");
        assert!(problem.to_string().contains(why), "{line}: {problem}");
    }
}

#[test]
fn spaces_tabs_and_line_ends_do_not_matter() {
    let acl = Acl::parse("user \t alice \r\n  topic\tread   a b/c \r\n\t\r\n").unwrap();
    assert!(acl.allows(who("alice", "c"), Receive, "a b/c"));
    assert!(!acl.allows(who("alice", "c"), Publish, "a b/c"));
}

#[test]
fn a_user_may_have_several_places() {
    let acl = Acl::parse("user a\ntopic x\nuser b\ntopic y\nuser a\ntopic z").unwrap();
    for (topic, granted) in [("x", true), ("y", false), ("z", true)] {
        assert_eq!(acl.allows(who("a", "c"), Publish, topic), granted, "{topic}");
    }
}
