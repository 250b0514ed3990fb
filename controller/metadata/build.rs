//! Compiles the metadata records with protox, so that no `protoc` is needed on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let schema = "../../proto/schema";
    let file = "../../proto/schema/metadata_records.proto";
    println!("cargo::rerun-if-changed={file}");
    let mut config = prost_build::Config::new();
    // It holds keys, which no log may show.
    config.skip_debug([".moldau.metadata.ScramCredential"]);
    config.compile_fds(protox::compile([file], [schema])?)?;
    Ok(())
}
