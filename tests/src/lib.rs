//! What the tests over the whole workspace share: where it is, and its Rust sources.

pub mod compare;

use std::path::{Path, PathBuf};

/// The workspace's root folder.
///
/// # Panics
/// If this crate does not stand directly below it.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.map(Path::to_path_buf).unwrap_or_else(|| panic!("the tests crate stands below the workspace's root"))
}

/// Every `.rs` file of the workspace that is ours, with its text; paths are relative to the root.
///
/// # Panics
/// If a folder or file cannot be read.
#[must_use]
pub fn rust_sources() -> Vec<(PathBuf, String)> {
    let root = workspace_root();
    let mut found = Vec::new();
    for top in ["proto", "controller", "broker", "cli", "tests"] {
        collect(&root, &root.join(top), &mut found);
    }
    found.sort();
    assert!(found.len() > 20, "the walk found only {} files: it looked in the wrong place", found.len());
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                collect(root, &path, found);
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text =
                std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let relative = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
            found.push((relative, text));
        }
    }
}
