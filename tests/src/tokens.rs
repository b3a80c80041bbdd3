//! Tokens, as an operator makes them.

use std::path::Path;
use std::process::Command;

use crate::paths;

/// What `cartgate token` says of a file of tokens.
///
/// # Panics
/// It fails.
pub fn ask(file: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(paths::service().expect("the service"));
    command.arg("token").args(arguments).arg("--file").arg(file);
    let output = command.output().expect("run it");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Makes a token.
///
/// # Panics
/// The file cannot be written.
pub fn create(file: &Path, client: &str, scope: &str) -> String {
    ask(file, &["create", "--client", client, "--scope", scope])
}

/// The setting of a service that lets in whom a file names.
pub fn setting(file: &Path) -> String {
    format!("[access]\ntokens = {:?}\n", file.display().to_string())
}
