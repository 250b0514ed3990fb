//! What the coordinator promises, one file for each concern.

mod add_partitions;
mod busy;
mod end;
mod harness;
mod init;
mod inspect;
mod load;
mod model;
mod records;
mod time;
