//! One binary: the server, its tools, and Kafka's tools by name.

mod client;
mod compat;
mod console;
mod consume;
mod native;
mod produce;
mod properties;
mod start;
mod web;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let arguments: Vec<String> = words.collect();
    let code = match (compat::tool_of_program(&program), arguments.split_first()) {
        (Some(tool), _) => console::run(|console| compat::run(tool, &arguments, console)),
        (None, Some((first, rest))) if first == "compat" && !rest.is_empty() => {
            console::run(|console| compat::run(&rest[0], &rest[1..], console))
        }
        _ => console::run(|console| native::run(&arguments, console)),
    };
    ExitCode::from(code)
}
