//! The cluster's metadata: records, image, delta, replay; pure.
