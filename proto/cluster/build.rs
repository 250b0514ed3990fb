//! Compiles the services between nodes with protox, so that no `protoc` is needed on the machine.

use std::error::Error;

const SCHEMA: &str = "../schema";
const FILES: [&str; 2] = ["../schema/raft.proto", "../schema/controller.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    tonic_prost_build::configure().bytes(".").compile_fds(protox::compile(FILES, [SCHEMA])?)?;
    Ok(())
}
