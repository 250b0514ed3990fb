//! Tests over the whole: tidy, harness, real processes.
