//! The broker's hot paths for a counter of instructions: `tests/bench/instructions.py` runs this under callgrind, takes from
//! the profile what the functions of [`measured`] cost with all that they call, and compares with the committed baseline.
//!
//! A whole broker with its controller runs in this process, the broker's tasks and the client in one thread, so that the
//! same requests take the same way each time. Instructions of the kernel and of threads beside (syncs, the controller) do
//! not count. Prints a line for each case: its name, and how many operations it did.

#![expect(clippy::print_stdout, reason = "what it did is its output")]

mod cases;
mod connection;
mod frames;
mod measured;
mod node;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// As in the broker's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let mut node = node::Node::start()?;
    let sections: [fn(&mut node::Node) -> Result<()>; 4] =
        [cases::topics, connection::run, cases::classic_group, cases::consumer_group];
    let failures: Vec<String> = sections
        .iter()
        .filter_map(|section| section(&mut node).err())
        .map(|error| error.to_string())
        .collect();
    node.stop();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}
