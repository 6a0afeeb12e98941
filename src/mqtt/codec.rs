//! The strict codec.
