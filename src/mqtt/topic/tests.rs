use super::*;

/// Topic, filter, whether it matches.
const MATCHES: &str = "
sport/tennis/player1          sport/tennis/player1/#   yes
sport/tennis/player1/ranking  sport/tennis/player1/#   yes
sport/tennis/p1/score/wimble  sport/tennis/p1/#        yes
sport                         sport/#                  yes
sport                         #                        yes
sport/                        sport/#                  yes
sports                        sport/#                  no
spor                          sport/#                  no
sport/tennis/player1          sport/tennis/+           yes
sport/tennis/player2          sport/tennis/+           yes
sport/tennis/player1/ranking  sport/tennis/+           no
sport/tennis                  sport/tennis/+           no
sport/tennis/                 sport/tennis/+           yes
sport                         sport/+                  no
sport/                        sport/+                  yes
sport                         +                        yes
sport/tennis                  +                        no
/finance                      +/+                      yes
/finance                      /+                       yes
/finance                      +                        no
/finance                      #                        yes
/finance                      finance                  no
finance                       /finance                 no
/                             /                        yes
/                             +/+                      yes
/                             +                        no
/                             +/                       yes
/                             #                        yes
/                             /#                       yes
//                            +/+/+                    yes
//                            /+                       no
//                            //                       yes
//                            /                        no
a                             a                        yes
a                             A                        no
a                             aa                       no
aa                            a                        no
a/b/c                         a/+/c                    yes
a/b/c                         a/+/b                    no
a/b/c                         +/+/+                    yes
a/b/c                         +/+                      no
a/b/c                         +/#                      yes
a                             +/#                      yes
a/b/c                         a/b                      no
a/b                           a/b/c                    no
a/b/c/d                       +/b/+/d                  yes
a//c                          a/+/c                    yes
a/c                           a/+/c                    no
a//c                          a//c                     yes
a/b                           a/b/#                    yes
a/b                           a/b/+/#                  no
a/b/                          a/b/+/#                  yes
$SYS/broker/version           #                        no
$SYS/broker/version           +/broker/version         no
$SYS/broker/version           +/#                      no
$SYS/broker/version           $SYS/#                   yes
$SYS                          $SYS/#                   yes
$SYS/broker/version           $SYS/+/version           yes
$SYS/broker/version           $SYS/broker/version      yes
$SYS/broker                   $dead/#                  no
$dead/expired                 $dead/+                  yes
a/$SYS                        +/+                      yes
a/$SYS                        #                        yes
/$SYS                         #                        yes
$                             +                        no
$                             $                        yes
é                             #                        yes
é                             +                        yes
é                             é                        yes
é                             e                        no
é/ü                           é/+                      yes
é/ü                           +/ü                      yes
é/ü                           é/u                      no
температура/кухня             температура/#            yes
температура/кухня             +/кухня                  yes
温度/厨房                       温度/+                     yes
温度/厨房                       温/#                      no
🌡/🏠                          🌡/🏠                      yes
🌡/🏠                          🌡/🏡                      no
";

#[test]
fn a_filter_matches_what_the_table_says() {
    for line in MATCHES.trim().lines() {
        let [topic, filter, wanted] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("not three words: {line}");
        };
        assert_eq!(check_name(topic, 128), Ok(()), "{line}");
        assert_eq!(parse_filter(filter, 128), Ok(FilterParts { share: None, filter }), "{line}");
        assert_eq!(matches(topic, filter), wanted == "yes", "{line}");
    }
}

#[test]
fn composed_and_decomposed_characters_are_different_topics() {
    assert!(!matches("caf\u{e9}", "cafe\u{301}"));
    assert!(matches("cafe\u{301}", "cafe\u{301}"));
    assert!(matches("with space/\u{feff}x", "with space/+"));
}

#[test]
fn names() {
    for valid in ["a", "/", "//", " ", "a/b", "$SYS/x", "$share/a/b", "é", "\u{1}", "a b/ c"] {
        assert_eq!(check_name(valid, 3), Ok(()), "{valid}");
    }
    for (name, error) in [
        ("", InvalidTopic::Empty),
        ("+", InvalidTopic::WildcardInName),
        ("a#", InvalidTopic::WildcardInName),
        ("a/+/b", InvalidTopic::WildcardInName),
        ("a/b/#", InvalidTopic::WildcardInName),
        ("a/b/c/d", InvalidTopic::TooManyLevels),
        ("///", InvalidTopic::TooManyLevels),
    ] {
        assert_eq!(check_name(name, 3), Err(error), "{name}");
    }
}

#[test]
fn filters() {
    for valid in ["#", "+", "+/+", "/#", "a/+/#", "+/a/+", "$SYS/#", "/", "$share", "$shared/a"] {
        assert_eq!(parse_filter(valid, 3), Ok(FilterParts { share: None, filter: valid }));
    }
    for (filter, error) in [
        ("", InvalidTopic::Empty),
        ("a#", InvalidTopic::MultiLevelWildcard),
        ("a/b#", InvalidTopic::MultiLevelWildcard),
        ("#a", InvalidTopic::MultiLevelWildcard),
        ("##", InvalidTopic::MultiLevelWildcard),
        ("+#", InvalidTopic::MultiLevelWildcard),
        ("#/", InvalidTopic::MultiLevelWildcard),
        ("a/#/b", InvalidTopic::MultiLevelWildcard),
        ("#/#", InvalidTopic::MultiLevelWildcard),
        ("a+", InvalidTopic::SingleLevelWildcard),
        ("+a", InvalidTopic::SingleLevelWildcard),
        ("++", InvalidTopic::SingleLevelWildcard),
        ("é+/b", InvalidTopic::SingleLevelWildcard),
        ("a/b/c/#", InvalidTopic::TooManyLevels),
    ] {
        assert_eq!(parse_filter(filter, 3), Err(error), "{filter}");
    }
}

#[test]
fn shared_subscriptions() {
    for (whole, share, filter) in [
        ("$share/g/a", "g", "a"),
        ("$share/g/a/b/c", "g", "a/b/c"),
        ("$share/g/#", "g", "#"),
        ("$share/g//a", "g", "/a"),
        ("$share/g//", "g", "/"),
        ("$share/é/+/é", "é", "+/é"),
        ("$share/$share/$share/a", "$share", "$share/a"),
    ] {
        assert_eq!(parse_filter(whole, 3), Ok(FilterParts { share: Some(share), filter }));
    }
    for (whole, error) in [
        ("$share/", InvalidTopic::EmptyShareName),
        ("$share//a", InvalidTopic::EmptyShareName),
        ("$share/g", InvalidTopic::ShareWithoutFilter),
        ("$share/g/", InvalidTopic::ShareWithoutFilter),
        ("$share/+/a", InvalidTopic::WildcardInShareName),
        ("$share/g#/a", InvalidTopic::WildcardInShareName),
        ("$share/g/a#", InvalidTopic::MultiLevelWildcard),
        ("$share/g/a/b/c/d", InvalidTopic::TooManyLevels),
    ] {
        assert_eq!(parse_filter(whole, 3), Err(error), "{whole}");
    }
}

/// The rule again, spelled by recursion over the levels.
fn matches_slowly(topic: &[&str], filter: &[&str]) -> bool {
    match (topic, filter) {
        (_, ["#"]) => true,
        ([_, topic @ ..], ["+", filter @ ..]) => matches_slowly(topic, filter),
        ([level, topic @ ..], [wanted, filter @ ..]) => {
            level == wanted && matches_slowly(topic, filter)
        }
        ([], []) => true,
        _ => false,
    }
}

#[test]
fn random_topics_and_filters_match_as_the_rule_says() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut hits = 0;
    for _ in 0..50_000 {
        let topic = random_levels(&mut random, &["", "a", "b", "é"]);
        let mut filter = random_levels(&mut random, &["", "a", "b", "é", "+", "+"]);
        if random.bool() {
            filter.push("#");
        }
        let slow = matches_slowly(&topic, &filter);
        hits += u32::from(slow);
        let (topic, filter) = (topic.join("/"), filter.join("/"));
        assert_eq!(matches(&topic, &filter), slow, "{topic} {filter}");
    }
    assert!(hits > 1000, "{hits}");
}

fn random_levels(random: &mut fastrand::Rng, words: &[&'static str]) -> Vec<&'static str> {
    (0..random.usize(1..5)).map(|_| words[random.usize(..words.len())]).collect()
}
