//! Backup and restore of the embedded store: of a service under load, over `kill -9`, of files that are
//! damaged; and what the doctor finds in a store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod broken_off;
mod doctor;
mod file;
mod under_load;
mod waiting;

use std::path::{Path, PathBuf};

use cartgate_tests::client::http;
use cartgate_tests::{Answer, Service, paths};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

const SKU: &str = "SNEAKER-1";

/// How a command ended, and what it said.
#[derive(Debug)]
struct Run {
    status: i32,
    output: String,
    error: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(paths::service().unwrap());
    command.args(arguments).kill_on_drop(true);
    command
}

/// Runs `cartgate` with `arguments`.
async fn cartgate(arguments: &[&str]) -> Run {
    let output = command(arguments).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let status = output.status.code().unwrap();
    Run { status, output: text(output.stdout), error: text(output.stderr) }
}

async fn backup(url: &str, file: &Path) -> Run {
    cartgate(&["backup", "--service", url, file.to_str().unwrap()]).await
}

async fn restore(file: &Path, data: &Path) -> Run {
    cartgate(&["restore", file.to_str().unwrap(), "--data", data.to_str().unwrap()]).await
}

/// Asserts that a command ended well. Returns what it said.
#[track_caller]
fn done(run: Run) -> String {
    assert_eq!((run.status, run.error.as_str()), (0, ""), "{run:?}");
    run.output
}

/// Asserts that a command ended like this, and said this.
#[track_caller]
fn refused(run: &Run, status: i32, part: &str) {
    assert_eq!(run.status, status, "{run:?}");
    assert!(run.error.contains(part), "{run:?}");
}

/// Names of everything in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A directory, and a name in it.
fn place(name: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    (dir, path)
}

async fn put(service: &Service, path: &str, body: Value) -> Answer {
    Answer::to(http().put(service.url(path)).json(&body)).await.unwrap()
}
