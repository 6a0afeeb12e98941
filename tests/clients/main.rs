//! Clients that are not ours against the real binary: each library, over TCP and TLS, in each
//! version of the protocol, through the same scenarios. A test is named
//! `library::transport_version::scenario`.
//!
//! A library of another language is a driver: a script that is one client, told by JSON lines what
//! to do (`python/lines.py` says how). Adding a library is adding a driver.

#[allow(dead_code)] // Each test target uses its part of the harness.
#[path = "../harness/mod.rs"]
mod harness;

#[allow(dead_code)]
#[path = "../broker/mosquitto.rs"]
mod mosquitto;
#[allow(dead_code)]
#[path = "../broker/rumqtt.rs"]
mod rumqtt;

mod client;
mod driver;
mod mosquitto_clients;
mod request;
mod rumqttc_clients;
mod scenarios;

/// A module for each library, in it one for each way to the broker, in it a test for each scenario.
macro_rules! matrix {
    ($($name:ident: $library:expr;)*) => {$(
        mod $name {
            matrix!(@way tcp_v311, $library, Tcp, V311);
            matrix!(@way tcp_v5, $library, Tcp, V5);
            matrix!(@way tls_v311, $library, Tls, V311);
            matrix!(@way tls_v5, $library, Tls, V5);
        }
    )*};
    (@way $way:ident, $library:expr, $transport:ident, $version:ident) => {
        mod $way {
            matrix! { @tests $library, $transport, $version;
                each_qos
                retained
                will
                session_over_a_restart
                session_over_a_kill
                shared
                large
                ten_thousand
            }
        }
    };
    (@tests $library:expr, $transport:ident, $version:ident; $($scenario:ident)*) => {$(
        #[test]
        fn $scenario() {
            use crate::client::{Library, Stage, Transport, Version};
            let stage = Stage::new($library, Transport::$transport, Version::$version);
            crate::scenarios::$scenario(stage);
        }
    )*};
}

matrix! {
    mosquitto_tools: Library::Mosquitto;
    rumqttc: Library::Rumqttc;
    paho: Library::Python("drive_paho.py");
    gmqtt: Library::Python("drive_gmqtt.py");
    aiomqtt: Library::Python("drive_aiomqtt.py");
    mqtt_js: Library::Node("drive_mqtt_js.mjs");
}
