use super::*;
use crate::app::args::{self, Parsed};
use crate::net::tls::ClientCertificate;

const EXAMPLE: &str = include_str!("../../../examples/kedgemq.toml");

fn place() -> Place {
    Place { directory: "/work dir".into(), host: "gateway".into() }
}

fn source(text: &str) -> Source<'_> {
    Source { file: Path::new("/etc/kedgemq.toml"), text }
}

fn read(text: &str) -> Result<Config, Failure> {
    Config::assemble(&Run::default(), Some(source(text)), &place())
}

fn flags(words: &[&str]) -> Run {
    let all = std::iter::once("kedgemq").chain(words.iter().copied());
    match args::parse(all.map(Into::into)).unwrap() {
        Parsed::Do(line) => line.run,
        Parsed::Print(text) => panic!("{text}"),
    }
}

/// All that the options decide, without the paths, which depend on where the file lies.
fn decided(config: &Config) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        config.settings,
        config.store.on_broken,
        config.store.commit_interval,
        config.store.two_phase_commit,
        config.max_downtime,
        config.cert_names,
        config.worker_threads,
        config.log_format,
        config.log_level,
        config.listeners,
        config.acl_file,
        config.outbox_bytes,
        config.connect_timeout,
        config.max_connections,
        (config.data.file_name(), config.certs.file_name()),
    )
}

#[test]
fn the_example_says_the_defaults() {
    let example = read(EXAMPLE).unwrap();
    let defaults = Config::assemble(&Run::default(), None, &place()).unwrap();
    assert_eq!(decided(&example), decided(&defaults));
}

/// The options of a table, as the error for an unknown one lists them.
fn options_of(header: &str) -> BTreeSet<String> {
    let line = read(&format!("{header}\nno_such_option = 1\n")).unwrap_err().line;
    let (_, list) = line.split_once("expected").expect("the line lists the options");
    let names = list.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    assert!(!names.is_empty(), "{line}");
    names
}

#[test]
fn the_example_names_every_option() {
    let tables = ["log", "limits", "dead_letters", "dead_letters.retry", "store", "auth"];
    let mut sections: Vec<(String, String)> = vec![(String::new(), String::new())];
    for line in EXAMPLE.lines() {
        let bare = line.trim_start_matches('#').trim();
        if bare.starts_with('[') && bare.ends_with(']') {
            sections.push((bare.to_owned(), String::new()));
        }
        let last = sections.last_mut().unwrap();
        last.1.push_str(bare);
        last.1.push('\n');
    }
    let names = |section: &str, option: &str| {
        let text: String =
            sections.iter().filter(|(name, _)| name == section).map(|(_, t)| t.as_str()).collect();
        text.lines().any(|line| line.split('=').next().unwrap().trim() == option && line != option)
    };
    for table in tables {
        let header = format!("[{table}]");
        for option in options_of(&header) {
            let is_table = tables.contains(&&*format!("{table}.{option}"));
            let is_named = is_table || names(&header, &option);
            assert!(is_named, "{header} {option} is not in the example");
        }
    }
    for header in ["[[listener]]", "[[overflow]]", "[[shared]]"] {
        for option in options_of(header) {
            assert!(names(header, &option), "{header} {option} is not in the example");
        }
    }
    for option in options_of("") {
        let is_table = tables.contains(&option.as_str())
            || ["listener", "overflow", "shared"].contains(&&*option);
        assert!(is_table || names("", &option), "{option} is not in the example");
    }
}

#[test]
fn every_reason_has_its_switch() {
    let options = options_of("[dead_letters]");
    for reason in DeadReason::ALL {
        assert!(options.contains(reason.as_str()), "{}", reason.as_str());
        if reason == DeadReason::NoSubscribers {
            continue; // Its switch is its list of filters.
        }
        let text = format!("[dead_letters]\n{} = false\n", reason.as_str());
        let left = read(&text).unwrap().settings.dead_letters.reasons;
        let rest: Vec<_> = DeadReason::ALL.into_iter().filter(|other| *other != reason).collect();
        assert_eq!(left, rest);
    }
}

#[test]
fn what_is_wrong_is_one_line_with_file_line_and_option() {
    let table = [
        (
            "nod = \"x\"",
            "1: nod: unknown option, expected one of `node`, `data`, `certs`, \
          `cert_names`, `worker_threads`, \
          `log`, `limits`, `overflow`, `shared`, `dead_letters`, `store`, `auth`, \
          `listener`",
        ),
        ("\nnode = \" \"", "2: node: is empty: name the node, or leave it out"),
        ("node = 5", "1: node: invalid type: integer `5`, expected a string"),
        (
            "[limits]\nreceive_maximum = 0",
            "2: limits.receive_maximum: invalid value: integer `0`, \
          expected a whole number from 1 to 65535",
        ),
        (
            "[limits]\nqueue_messages = -1",
            "2: limits.queue_messages: invalid value: integer `-1`, \
          expected a whole number, 1 or more",
        ),
        (
            "[limits]\npacket_size = \"2 parsecs\"",
            "2: limits.packet_size: invalid value: string \
          \"2 parsecs\", expected a size such as \"2MiB\", from 256 B to 256.0 MiB",
        ),
        (
            "[limits]\nsession_expiry = 5",
            "2: limits.session_expiry: invalid value: integer `5`, \
          expected \"none\" or whole seconds with a unit such as \"30s\" or \"1h\", up to \
          4294967294s",
        ),
        (
            "[limits]\nkeep_alive = \"1500ms\"",
            "2: limits.keep_alive: invalid value: string \
          \"1500ms\", expected \"none\" or whole seconds with a unit such as \"30s\" or \"1h\", \
          up to 65535s",
        ),
        (
            "[store]\n\nmax_downtime = 7",
            "3: store.max_downtime: invalid value: integer `7`, \
          expected a time with a unit such as \"30s\", \"500ms\" or \"7days\"",
        ),
        (
            "[store]\nmax_store_size = 0",
            "2: store.max_store_size: invalid value: integer `0`, \
          expected \"none\" or a size such as \"2MiB\", 1 B or more",
        ),
        (
            "[store]\non_broken_store = \"delete\"",
            "2: store.on_broken_store: unknown variant \
          `delete`, expected `set_aside` or `stop`",
        ),
        (
            "[log]\nlevel = \"loud\"",
            "2: log.level: unknown variant `loud`, expected one of \
          `error`, `warn`, `info`, `debug`, `trace`",
        ),
        ("[[listener]]\ntls = true", "1: listener: missing option `address`"),
        (
            "[[listener]]\naddress = \"1.2.3.4\"",
            "2: listener.address: \"1.2.3.4\" is no address: \
          write ip:port, [ipv6]:port, name:port, or only a port for this machine alone",
        ),
        (
            "[[listener]]\naddress = \"1883\"\nkey = \"a.key\"",
            "3: listener.key: needs tls = true \
          in the same listener",
        ),
        (
            "[[listener]]\naddress = \"1\"\ntls = true\nkey = \"a.key\"",
            "4: listener.key: needs \
          the certificate it belongs to, too",
        ),
        (
            "[[listener]]\naddress = \"1\"\ntls = true\ncertificate = \"a\"",
            "4: \
          listener.certificate: needs the key that belongs to it, too",
        ),
        (
            "[[listener]]\naddress = \"1\"\ntls = true\nclient_certificate = \"required\"",
            "4: \
          listener.client_certificate: needs client_ca, the file of the CAs that sign client \
          certificates",
        ),
        (
            "[[listener]]\naddress = \"1\"\ntls = true\nclient_ca = \"ca\"",
            "4: listener.client_ca: \
          needs client_certificate = \"required\" or \"optional\" beside it",
        ),
        (
            "[[listener]]\naddress = \"1\"\ntls = true\ncommon_name_as_user = true",
            "4: \
          listener.common_name_as_user: needs client_certificate = \"required\" or \"optional\", \
          and client_ca",
        ),
        (
            "[[listener]]\naddress = \"1\"\nanonymous = false",
            "3: listener.anonymous: nobody could \
          connect; add password_file, or common_name_as_user = true with client certificates",
        ),
        (
            "[[listener]]\naddress = \"1\"\n[[listener]]\naddress = \"0.0.0.0:2\"",
            "4: \
          listener.address: other machines could connect to 0.0.0.0:2 without a password; add \
          password_file or client_certificate = \"required\", or say anonymous = true",
        ),
    ];
    for (text, line) in table {
        let failure = read(text).map(|_| ()).expect_err(text);
        assert_eq!(failure.line, format!("/etc/kedgemq.toml:{line}"), "{text}");
        assert_eq!(failure.code(), 2);
        assert!(!failure.line.contains('\n'));
    }
}

#[test]
fn broken_toml_names_its_line() {
    for (text, number) in [("node = \n", 1), ("[log]\nlevel = \"info\"\nlevel = \"info\"", 3)] {
        let line = read(text).map(|_| ()).unwrap_err().line;
        assert!(line.starts_with(&format!("/etc/kedgemq.toml:{number}: ")), "{line}");
    }
}

#[test]
fn other_machines_need_a_name_or_a_word() {
    let listen = |options: &str| {
        read(&format!("[[listener]]\naddress = \"0.0.0.0:8883\"\ntls = true\n{options}"))
    };
    assert!(listen("").is_err());
    assert!(listen("client_ca = \"ca\"\nclient_certificate = \"optional\"").is_err());
    let open = listen("anonymous = true").unwrap();
    assert!(open.listeners[0].anonymous);
    let users = listen("password_file = \"users\"").unwrap();
    assert!(!users.listeners[0].anonymous);
    let certain = listen("client_ca = \"ca\"\nclient_certificate = \"required\"").unwrap();
    assert!(certain.listeners[0].anonymous, "the certificate alone admits");
    let named = "client_ca = \"ca\"\nclient_certificate = \"optional\"\ncommon_name_as_user = true";
    assert!(!listen(named).unwrap().listeners[0].anonymous);
}

#[test]
fn the_password_file_of_all_holds_for_each_listener_without_its_own() {
    let text = "[auth]\npassword_file = \"all\"\n[[listener]]\naddress = \"1\"\n\
                [[listener]]\naddress = \"0.0.0.0:2\"\npassword_file = \"own\"\nanonymous = true";
    let config = read(text).unwrap();
    let [first, second] = &config.listeners[..] else { panic!("{:?}", config.listeners) };
    assert_eq!(first.password_file.as_deref(), Some(Path::new("/etc/all")));
    assert!(!first.anonymous);
    assert_eq!(second.password_file.as_deref(), Some(Path::new("/etc/own")));
    assert!(second.anonymous);
    let usual = read("[auth]\npassword_file = \"all\"").unwrap();
    assert!(usual.listeners.iter().all(|listener| !listener.anonymous), "{:?}", usual.listeners);
}

#[test]
fn flags_go_over_the_file_and_replace_all_listeners() {
    let text = "data = \"d\"\n[log]\nlevel = \"warn\"\n[[listener]]\naddress = \"1\"";
    let flags = flags(&["--mqtt", "127.0.0.1:2883", "--data", "x", "--log-level", "trace"]);
    let config = Config::assemble(&flags, Some(source(text)), &place()).unwrap();
    assert_eq!(config.data, Path::new("/work dir/x"));
    assert_eq!(config.certs, Path::new("/etc/certs"));
    assert_eq!(config.log_level, LogLevel::Trace);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:2883");
    assert!(config.listeners[0].tls.is_none() && !config.makes_certificates());
}

#[test]
fn an_open_flag_needs_a_config_file() {
    let open = flags(&["--mqtts", "8883", "--mqtt", "0.0.0.0:1883"]);
    let failure = Config::assemble(&open, None, &place()).map(|_| ()).unwrap_err();
    assert_eq!(
        failure.line,
        "--mqtt 0.0.0.0:1883: other machines could connect without a password; use a config \
         file (-c FILE) with [auth] password_file, or with a [[listener]] that says anonymous = \
         true"
    );
    assert_eq!(failure.code(), 2);
    let users = source("[auth]\npassword_file = \"users\"");
    let config = Config::assemble(&open, Some(users), &place()).unwrap();
    assert!(config.listeners.iter().all(|listener| !listener.anonymous));
}

#[test]
fn paths_are_absolute() {
    let bare = Config::assemble(&Run::default(), None, &place()).unwrap();
    assert_eq!(bare.data, Path::new("/work dir/data"));
    assert_eq!(bare.certs, Path::new("/work dir/certs"));
    assert_eq!(bare.store.path, Path::new("/work dir/data/kedgemq.redb"));
    let text = "data = \"../var\"\n[auth]\nacl_file = \"/a/acl\"\n[[listener]]\naddress = \"1\"\n\
                tls = true\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"ca\"\n\
                client_certificate = \"required\"";
    let config = read(text).unwrap();
    assert_eq!(config.data, Path::new("/etc/../var"));
    assert_eq!(config.acl_file.as_deref(), Some(Path::new("/a/acl")));
    let files = config.listeners[0].tls.as_ref().unwrap().files(&config.certs);
    assert_eq!(files.certificate, Path::new("/etc/c"));
    assert_eq!(files.key, Path::new("/etc/k"));
    assert_eq!(files.client, ClientCertificate::Required("/etc/ca".into()));
    assert!(!config.makes_certificates());
}

#[test]
fn a_made_certificate_has_the_names_of_its_listeners() {
    let text = "cert_names = [\"file\"]\n[[listener]]\naddress = \"192.0.2.1:1\"\ntls = true\n\
                anonymous = true\n[[listener]]\naddress = \"gate.example:1\"\ntls = true\n\
                anonymous = true\n[[listener]]\naddress = \"192.0.2.2:1\"\nanonymous = true\n\
                [[listener]]\naddress = \"[::]:1\"\ntls = true\nanonymous = true";
    let config =
        Config::assemble(&flags(&["--cert-name", "flag"]), Some(source(text)), &place()).unwrap();
    assert_eq!(config.cert_names, ["flag", "file", "192.0.2.1", "gate.example"]);
}

#[test]
fn the_first_share_rule_that_fits_a_group_counts() {
    let text = "[[shared]]\nfilter = \"$share/a/x\"\nstrategy = \"round_robin\"\n\
                [[shared]]\nfilter = \"$share/a/*\"\nstrategy = \"hash_topic\"\n\
                [[shared]]\nstrategy = \"hash_topic\"\npatience = \"5s\"\n";
    let sharing = read(text).unwrap().settings.sharing;
    let by_topic = |seconds| config::Strategy::HashTopic { patience: Duration::from_secs(seconds) };
    assert_eq!(sharing.of("$share/a/x"), config::Strategy::RoundRobin);
    assert_eq!(sharing.of("$share/a/y/#"), by_topic(60));
    assert_eq!(sharing.of("$share/b/x"), by_topic(5));
    let without = read("").unwrap().settings.sharing;
    assert_eq!(without.of("$share/a/x"), config::Strategy::RoundRobin);
}

#[test]
fn a_server_in_another_program_has_the_same_defaults() {
    let mut command = Config::assemble(&Run::default(), None, &place()).unwrap();
    let library = crate::server::Setup::new(&command.data);
    command.settings.node.clone_from(&library.settings.node);
    assert_eq!(format!("{:?}", command.settings), format!("{:?}", library.settings));
    assert_eq!(format!("{:?}", command.store), format!("{:?}", library.store));
    assert_eq!(command.max_downtime, library.max_downtime);
    assert_eq!(command.outbox_bytes, library.outbox_bytes);
    assert_eq!(command.connect_timeout, library.connect_timeout);
    assert!(command.max_connections.is_none() && command.acl_file.is_none());
}
