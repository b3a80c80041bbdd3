//! `cartgate check-config`: will the filter do in this Envoy or Istio what it was configured for?
//!
//! Each part may be right by itself and all of them wrong together: a filter that waits for bodies in an
//! Envoy that never brings them, a body limit above Envoy's buffer, a cluster that is not there. So files are
//! read as a whole, before they go out and without an Envoy:
//!
//! ```text
//! tree.rs           YAML or JSON, in which everything knows its line
//! place.rs          a place in it: file, line, field, and the way to the next
//! find.rs           our filters, wherever they are
//! find/             patches of EnvoyFilters, and what they have around each place of a filter
//! configuration.rs  the filter's own configuration, by the filter's own parser
//! checks/           what all that means: one pure function a check
//! report.rs         what came of it, for people and for machines
//! ```
//!
//! What cannot be seen from here, such as what Istio adds by itself, is never called good.

mod checks;
mod configuration;
mod find;
mod place;
mod report;
#[cfg(test)]
mod samples;
mod tree;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use thiserror::Error;

use find::Document;
use place::Spot;
use tree::Unreadable;

pub use report::{Examined, Finding, Level, Report};

/// Why there is no report.
#[derive(Debug, Error)]
pub enum CheckError {
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is neither YAML nor JSON, or could be read in two ways.
    #[error("{file}:{line}: not read as YAML: {reason}")]
    NoYaml {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A patch has proxies ask for a filter that is in none of the files.
    #[error(
        "{file}:{line}: an HTTP_FILTER patch names {name}, which none of these files has: name the file with \
         the EXTENSION_CONFIG patch for {name}, too (istio/edge/filter.yaml)"
    )]
    Incomplete {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// The filter's name.
        name: String,
    },
    /// There is no filter of ours.
    #[error(
        "no filter of cartgate in {}: a Wasm filter counts as one if its name, vm_id, root_id or module has \
         `cartgate` in it, or its configuration has `routes` and `default_limit`",
        files.join(", ")
    )]
    NoFilter {
        /// The files.
        files: Vec<String>,
    },
}

/// Checks all filters of ours in these files, which are taken together: what one lacks may be in another.
///
/// # Errors
/// A file cannot be read, there is no filter of ours, or only its place.
pub fn examine(paths: &[PathBuf]) -> Result<Report, CheckError> {
    let mut documents = Vec::new();
    for path in paths {
        let text = fs::read_to_string(path)
            .map_err(|source| CheckError::File { path: path.clone(), source })?;
        documents.extend(read(&path.display().to_string(), &text)?);
    }
    let filters = check(&documents, is_readable)?;
    if filters.is_empty() {
        let files = paths.iter().map(|path| path.display().to_string()).collect();
        return Err(CheckError::NoFilter { files });
    }
    Ok(Report { filters })
}

fn read(file: &str, text: &str) -> Result<Vec<Document>, CheckError> {
    let nodes = tree::read(text).map_err(|Unreadable { line, reason }| CheckError::NoYaml {
        file: file.to_owned(),
        line,
        reason,
    })?;
    let file: Rc<str> = file.into();
    Ok(nodes.into_iter().map(|node| Document { file: Rc::clone(&file), node }).collect())
}

fn check(
    documents: &[Document],
    is_readable: fn(&Path) -> bool,
) -> Result<Vec<Examined>, CheckError> {
    let (filters, world) = find::all(documents, is_readable);
    if let Some((patch, name)) = world.asks_in_vain() {
        let Spot { file, line, .. } = &patch.place.spot;
        let (file, name) = (file.to_string(), name.to_owned());
        return Err(CheckError::Incomplete { file, line: *line, name });
    }
    Ok(filters.iter().map(|filter| checks::of(filter, &world)).collect())
}

fn is_readable(path: &Path) -> bool {
    File::open(path).is_ok()
}
