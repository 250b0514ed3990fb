//! The group coordinator's decisions, and its records; sans-IO.
