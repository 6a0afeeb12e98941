use super::*;

#[test]
fn addresses_are_read_as_a_user_writes_them() {
    let table: [(&str, Option<Address>, bool); 20] = [
        ("1883", Some(Address::Loopback(1883)), true),
        ("0", Some(Address::Loopback(0)), true),
        ("127.0.0.1:1883", Some(Address::Exact("127.0.0.1:1883".parse().unwrap())), true),
        ("[::1]:8883", Some(Address::Exact("[::1]:8883".parse().unwrap())), true),
        (
            "[::ffff:127.0.0.1]:1",
            Some(Address::Exact("[::ffff:127.0.0.1]:1".parse().unwrap())),
            true,
        ),
        ("0.0.0.0:1883", Some(Address::Exact("0.0.0.0:1883".parse().unwrap())), false),
        ("[::]:1883", Some(Address::Exact("[::]:1883".parse().unwrap())), false),
        ("localhost:1883", Some(Address::Name("localhost".into(), 1883)), true),
        ("LocalHost:1883", Some(Address::Name("LocalHost".into(), 1883)), true),
        ("gate-way.local:1", Some(Address::Name("gate-way.local".into(), 1)), false),
        ("", None, false),
        ("65536", None, false),
        ("+1883", None, false),
        ("127.0.0.1", None, false),
        ("127.0.0.256:1883", None, false),
        ("::1:1883", None, false),
        ("localhost:", None, false),
        (":1883", None, false),
        ("mqtt://localhost:1883", None, false),
        ("host name:1883", None, false),
    ];
    for (text, address, loopback) in table {
        let read = text.parse::<Address>();
        assert_eq!(read.clone().ok(), address, "{text}");
        if let Ok(address) = read {
            assert_eq!(address.is_loopback(), loopback, "{text}");
            assert_eq!(address.to_string(), text);
        }
    }
}

#[tokio::test]
async fn port_0_gives_one_real_port_for_both_loopback_addresses() {
    let bound = bind(&Address::Loopback(0)).await.unwrap();
    let ports: Vec<u16> = bound.sockets.iter().map(|(_, address)| address.port()).collect();
    assert_eq!(bound.sockets.len() + usize::from(bound.left_out.is_some()), 2);
    assert!(ports.iter().all(|port| *port != 0 && *port == ports[0]), "{ports:?}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let taken = first.sockets[0].1;
    match bind(&Address::Exact(taken)).await {
        Err(BindError::Bind(address, error)) => {
            assert_eq!(address, taken);
            assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        }
        other => panic!("{other:?}"),
    }
}
