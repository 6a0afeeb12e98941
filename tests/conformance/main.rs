//! What the specifications of MQTT 3.1.1 and 5.0 ask of a server, and what KedgeMQ promises
//! beyond, shown on the core alone. `statements` names the tests of every statement.

mod alias;
mod chaos;
mod client;
mod connect;
mod crash_named;
mod dead_letters;
mod durability;
mod early;
mod expiry;
mod flow;
mod letter_text;
mod malformed;
mod operator;
mod overflow;
mod packets;
mod publish_in;
mod publish_out;
mod qos2;
mod redrive;
mod retained;
mod rig;
mod rights;
mod session;
mod shared;
mod statements;
mod store;
mod subscribe;
mod sys;
mod text;
mod v311;
mod violations;
mod walk;
mod will;
mod window;
mod wire;
