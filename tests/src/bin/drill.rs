//! Rehearses a sale, judges it by what its customers were told, and writes a report.

use std::io::{self, Write};
use std::path::{self, PathBuf};
use std::process::ExitCode;

use cartgate_tests::StoreKind;
use cartgate_tests::drill::evidence::PATIENCE;
use cartgate_tests::drill::rehearsal::{Place, Plan, rehearse};
use cartgate_tests::drill::scenario::{Overrides, Scenario};
use cartgate_tests::paths::repo_root;
use clap::Parser;

/// Rehearses a sale against cartgate, and judges it by what its customers were told.
///
/// Without --edge and --service it starts a service and an Envoy of its own, without data. Exits
/// with 0 if the verdict holds, with 1 if it does not, and with 2 if the drill could not run or
/// proves nothing.
#[derive(Debug, Parser)]
#[command(name = "drill", max_term_width = 100)]
struct Arguments {
    /// The scenario, a TOML file; demo.toml beside it fits what `make run` starts [default:
    /// tests/scenarios/sale.toml, or demo.toml with --edge]
    scenario: Option<PathBuf>,

    /// An edge that runs already, as http://host:port. It must be configured with the scenario's
    /// limits: the drill checks them, and cannot set them
    #[arg(long, value_name = "URL", requires = "service")]
    edge: Option<String>,

    /// The service behind it, as http://host:port. The drill puts the scenario's stock up for sale
    /// there, so nobody else may be buying these products meanwhile
    #[arg(long, value_name = "URL", requires = "edge")]
    service: Option<String>,

    /// What the service that it starts keeps its data in. With redis the drill starts a server, an API
    /// process and two workers, and kills one of these in the middle of the sale
    #[arg(long, value_enum, default_value_t, conflicts_with = "edge")]
    store: StoreKind,

    /// Another seed than the scenario's: another schedule
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Another duration than the scenario's, in seconds
    #[arg(long, value_name = "N")]
    duration_s: Option<u32>,

    /// Where to put report, records, evidence and logs: a new directory, an empty one, or one that a
    /// drill has made, whose results are replaced [default: target/drill/SCENARIO]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("drill: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether the verdict holds.
async fn run(arguments: Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let Arguments { scenario, edge, service, store, seed, duration_s, out } = arguments;
    let at = edge.zip(service).map(|(edge, service)| Place::At { edge, service });
    let place = at.unwrap_or(Place::Own(store));
    let default = if matches!(place, Place::Own(_)) { "sale" } else { "demo" };
    let path = scenario.unwrap_or_else(|| {
        repo_root().join("tests/scenarios").join(default).with_extension("toml")
    });
    let scenario = Scenario::read(&path, Overrides { seed, duration_s })?;
    let out = out.unwrap_or_else(|| repo_root().join("target/drill").join(&scenario.name));
    // Envoy runs elsewhere: what it is told must lead to the same place from there.
    let out = path::absolute(out)?;
    let rehearsed = rehearse(&Plan { scenario, place, out, patience: PATIENCE }).await?;
    // Whoever closes the pipe has read enough (`drill | head`): the verdict is the same.
    let _ = io::stdout().write_all(rehearsed.summary.as_bytes());
    Ok(rehearsed.holds)
}
