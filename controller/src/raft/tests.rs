//! Tests of the boundary as a whole.
