//! The rows of SUPPORTED that concern metadata, administration and groups.

use super::ApiSupport;

pub const ROWS: &[ApiSupport] = &[];
