//! The rows of SUPPORTED that records pass through.

use super::ApiSupport;

pub const ROWS: &[ApiSupport] = &[];
