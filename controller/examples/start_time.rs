//! How long a controller takes from nothing to ready, on a first start and on restarts.
//!
//! `cargo run --release -p moldau-controller --example start_time -- <directory> [restarts]`. With `RUST_LOG` set to
//! `moldau_controller=debug` it also says how many syncs each start took.

use std::path::PathBuf;
use std::time::Instant;

use moldau_controller::{Controller, ControllerOptions};
use moldau_model::{BrokerId, Uuid};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf = arguments.next().ok_or("give a directory that does not exist yet")?.into();
    let restarts: u32 = arguments.next().map_or(Ok(5), |count| count.parse())?;
    std::fs::create_dir(&directory)?;
    let mut report = String::new();
    for start in 0..=restarts {
        let begin = Instant::now();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let options = ControllerOptions::new(
            BrokerId(1),
            "start-time".to_owned(),
            directory.clone(),
            Uuid::from_bytes([7; 16]),
        );
        let controller = runtime.block_on(Controller::start(options, runtime.handle()))?;
        let ready = begin.elapsed();
        runtime.block_on(controller.shutdown());
        let what = if start == 0 { "first start" } else { "restart" };
        report.push_str(&format!("{what}: ready after {:.2} ms\n", ready.as_secs_f64() * 1e3));
    }
    std::io::Write::write_all(&mut std::io::stdout(), report.as_bytes())?;
    Ok(())
}
