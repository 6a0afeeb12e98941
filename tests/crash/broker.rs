//! The real core on the real store on a disk that crashes: what clients of both versions were
//! told holds afterwards, whatever the disk kept of what was not synced.

mod client;
mod failing;
mod mixed;
mod moves;
mod named;
mod scene;
mod verdict;
mod world;

#[allow(dead_code)] // Each test target uses its part of the packets.
#[path = "../conformance/packets.rs"]
mod packets;
