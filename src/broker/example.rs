//! What the unit tests' clients say, where it does not matter.

use crate::auth::{Admission, Identity};
use crate::mqtt::Version;
use crate::mqtt::packet::Connect;

/// A CONNECT of MQTT 5 that asks for nothing.
pub(super) fn connect(client_id: &str) -> Connect<'_> {
    Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive: 0,
        client_id,
        user_name: None,
        password: None,
        will: None,
        session_expiry: None,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
    }
}

/// Nobody that was asked for anything.
pub(super) fn anonymous() -> Identity {
    Identity { user: None, admission: Admission::Granted }
}
