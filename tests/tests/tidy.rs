//! Style as a test: what the house rules say of files, words and documents.

use std::process::Command;

use moldau_tests::{rust_sources, workspace_root};

const LINES_MAX: usize = 800;
const BLOB_BYTES_MAX: u64 = 256 * 1024;

/// Words that may not stand in the sources, and what to do instead.
const BANNED: &[(&str, &str)] = &[
    ("FIXME", "mend it, or write an issue"),
    ("todo!(", "write it"),
    ("unimplemented!(", "write it"),
    ("unbounded_channel", "every queue has a bound"),
    ("tokio::fs::", "partition files are opened by moldau-log only, and off the async workers"),
    ("/work/", "no path of one machine"),
];

#[test]
fn no_source_file_is_longer_than_the_ceiling() {
    for (path, text) in rust_sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, more than {LINES_MAX}", path.display());
    }
}

#[test]
fn banned_words_do_not_stand_in_the_sources() {
    for (path, text) in rust_sources() {
        if path.ends_with("tests/tests/tidy.rs") || path.ends_with("tests/tests/arrows.rs") {
            continue;
        }
        for (word, instead) in BANNED {
            assert!(!text.contains(word), "{} says {word}: {instead}", path.display());
        }
    }
}

#[test]
fn every_source_file_opens_by_saying_what_it_is() {
    for (path, text) in rust_sources() {
        let first = text.lines().next().unwrap_or_default();
        let generated = text.starts_with("// @generated");
        assert!(first.starts_with("//!") || generated, "{} does not open with `//!`", path.display());
    }
}

fn tracked_files() -> Vec<String> {
    let output =
        Command::new("git").args(["ls-files"]).current_dir(workspace_root()).output().expect("git runs");
    assert!(output.status.success(), "git ls-files failed");
    String::from_utf8(output.stdout).expect("paths are UTF-8").lines().map(str::to_string).collect()
}

#[test]
fn no_large_blob_is_committed() {
    for file in tracked_files() {
        let Ok(metadata) = std::fs::metadata(workspace_root().join(&file)) else { continue };
        let bytes = metadata.len();
        assert!(bytes <= BLOB_BYTES_MAX, "{file} has {bytes} bytes, more than {BLOB_BYTES_MAX}");
    }
}

#[test]
fn decisions_are_numbered_without_a_hole_and_have_their_parts() {
    let folder = workspace_root().join("docs/adr");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .expect("docs/adr is there")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .collect();
    names.sort();
    for (index, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("{:04}-", index + 1)), "{name} breaks the numbering");
        let text = std::fs::read_to_string(workspace_root().join("docs/adr").join(name)).expect("readable");
        for part in ["## Context", "## Decision", "## Consequences"] {
            assert!(text.contains(part), "{name} lacks {part}");
        }
    }
}

#[test]
fn each_page_has_one_title() {
    for file in tracked_files().iter().filter(|f| f.ends_with(".md")) {
        let Ok(text) = std::fs::read_to_string(workspace_root().join(file)) else { continue };
        let mut fenced = false;
        let mut titles = 0;
        for line in text.lines() {
            if line.starts_with("```") {
                fenced = !fenced;
            }
            titles += usize::from(!fenced && line.starts_with("# "));
        }
        assert_eq!(titles, 1, "{file} has {titles} titles");
    }
}
