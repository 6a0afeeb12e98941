//! The client's side of the wire, for tests, the benchmark and the simulation: strict as well, so
//! that what the broker writes is checked by the same rules as what it reads.

mod decode;
mod encode;

pub use decode::decode;
pub use encode::encode;
