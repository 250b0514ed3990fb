//! A partition replica's decisions: leadership, ISR, high watermark; sans-IO.
