//! The `cartgate` command.

use std::error::Error;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use cartgate_backend::access::Scope;
use cartgate_backend::access::tokens::Keeper;
use cartgate_backend::backup::{self, BackupArguments, RestoreArguments};
use cartgate_backend::cause::chain;
use cartgate_backend::check_config;
use cartgate_backend::config::{Config, ConfigError, Role, StoreUrl};
use cartgate_backend::doctor::{self, Level};
use cartgate_backend::http::{docs, openapi};
use cartgate_backend::scan::{self, ScanArguments};
use cartgate_backend::serve::serve;
use cartgate_backend::stock::{self, ExportArguments, ImportArguments};
use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What a caller has while it waits is mostly buffers that are hardly filled: this allocator leaves
/// the rest of them untouched, and so out of RAM.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Protects a shop's "add to cart" button when a coveted product goes on sale.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Serve reservations over HTTP until SIGINT or SIGTERM.
    Serve(ServeArguments),
    /// Examine the Redis that is, or is to be, the store, or an embedded store that no process has open,
    /// and say what to change. Ends with 0 if nothing is bad, 1 if something is, 2 if there is nothing
    /// that can be examined.
    Doctor(DoctorArguments),
    /// Check Envoy's or Istio's configuration of the filter before it goes out, and say what to change.
    /// Ends with 0 if nothing is bad, 1 if something is, 2 if a file cannot be read, or no filter of
    /// cartgate is in any.
    CheckConfig(CheckConfigArguments),
    /// Write what documents the service's HTTP interface.
    Openapi(OpenapiArguments),
    /// Tokens of those who may call the service.
    #[command(subcommand)]
    Token(TokenAction),
    /// Hot items: products that everybody wants at once.
    #[command(subcommand)]
    HotItems(HotItemsAction),
    /// Stock in bulk, in and out of a running service.
    #[command(subcommand)]
    Stock(StockAction),
    Backup(BackupArguments),
    Restore(RestoreArguments),
}

#[derive(Subcommand)]
enum StockAction {
    Import(ImportArguments),
    Export(ExportArguments),
}

#[derive(Subcommand)]
enum HotItemsAction {
    Scan(Box<ScanArguments>),
}

#[derive(clap::Args)]
struct ServeArguments {
    /// A TOML file; without it, the defaults hold.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Address and port to listen on, instead of `listen` in the configuration.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Another address, for metrics and probes alone, instead of `metrics_listen` in the configuration.
    #[arg(long)]
    metrics_listen: Option<SocketAddr>,
    /// URL of a store that many processes share, `redis://...`, instead of `store` in the
    /// configuration.
    #[arg(long, env = "CARTGATE_STORE", hide_env_values = true)]
    store: Option<String>,
    /// What this process does on a shared store, instead of `roles` in the configuration: `api`
    /// answers callers, `worker` owns buckets.
    #[arg(long, value_delimiter = ',')]
    roles: Option<Vec<Role>>,
    /// Directory of the embedded store, instead of `data` in the configuration.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Everybody who reaches the service may do everything: for a machine of your own.
    #[arg(long)]
    development: bool,
    /// How to write logs to standard error. `RUST_LOG` says what: `debug`, `info,cartgate=debug`, ...
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(clap::Args)]
struct OpenapiArguments {
    /// What of it.
    #[arg(long, value_enum, default_value_t = DocumentFormat::Json)]
    format: DocumentFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum DocumentFormat {
    /// The OpenAPI 3.1 document.
    Json,
    /// The page that explains every route.
    Html,
    /// What each problem means, and what is done about it, in Markdown.
    Problems,
}

#[derive(clap::Args)]
struct DoctorArguments {
    /// Where it is: redis://[user:password@]host:port[,host:port ...], or rediss:// for TLS. If neither
    /// this nor --data is given, what the environment has as CARTGATE_STORE.
    #[arg(long, conflicts_with = "data")]
    store: Option<String>,
    /// Directory of an embedded store.
    #[arg(long)]
    data: Option<PathBuf>,
    /// What the names of keys begin with in Redis.
    #[arg(long, default_value = "cg", conflicts_with = "data")]
    prefix: String,
    /// Write JSON, for machines.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct CheckConfigArguments {
    /// YAML or JSON: Envoy's bootstrap, or Istio's EnvoyFilter, WasmPlugin or TrafficExtension. Several
    /// files are taken together.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write JSON, for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum TokenAction {
    /// Make a token, and tell it: it is kept nowhere. To rotate one, make another for the same client,
    /// hand it over, and revoke the first.
    Create {
        #[command(flatten)]
        file: TokenFile,
        /// Whose it is.
        #[arg(long)]
        client: String,
        /// What it opens; may be given more than once.
        #[arg(long = "scope", value_enum, required = true)]
        scopes: Vec<Scope>,
        /// When it is no good any more, as 2027-01-31T10:00:00Z; left out: never.
        #[arg(long)]
        expires_at: Option<jiff::Timestamp>,
    },
    /// Show all of them, as JSON: whose they are and what they open.
    List(TokenFile),
    /// Take one back. Services that read the file turn it away within about a second.
    Revoke {
        #[command(flatten)]
        file: TokenFile,
        /// As `list` shows it.
        id: String,
    },
}

#[derive(clap::Args)]
struct TokenFile {
    /// The file, which `access.tokens` in the configuration names.
    #[arg(long, default_value = "tokens.toml")]
    file: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

fn main() -> ExitCode {
    let (result, failure) = match Arguments::parse().command {
        Action::Serve(arguments) => (run(arguments), ExitCode::FAILURE),
        Action::Doctor(arguments) => (examine(&arguments), ExitCode::from(NOT_EXAMINED)),
        Action::CheckConfig(arguments) => (check(&arguments), ExitCode::from(NOT_EXAMINED)),
        Action::Openapi(arguments) => {
            (documentation(arguments.format).map(print), ExitCode::FAILURE)
        }
        Action::Token(action) => (keep_tokens(action), ExitCode::FAILURE),
        Action::HotItems(HotItemsAction::Scan(arguments)) => {
            (find_hot_items(&arguments), ExitCode::FAILURE)
        }
        Action::Stock(StockAction::Import(arguments)) => {
            (import(&arguments), ExitCode::from(NOT_COMPLETE))
        }
        Action::Stock(StockAction::Export(arguments)) => {
            (export(&arguments), ExitCode::from(NOT_COMPLETE))
        }
        Action::Backup(arguments) => (back_up(&arguments), ExitCode::from(NOT_COMPLETE)),
        Action::Restore(arguments) => (restore(&arguments), ExitCode::from(NOT_COMPLETE)),
    };
    result.unwrap_or_else(|error| {
        eprintln!("cartgate: {}", chain(&*error));
        failure
    })
}

/// How a command that examines ends when there was nothing to examine: no server that could be asked, no
/// file that could be read.
const NOT_EXAMINED: u8 = 2;

/// How a command ends that brings stock or a backup in or out, if not all of it has gone through.
const NOT_COMPLETE: u8 = 2;

fn import(arguments: &ImportArguments) -> Result<ExitCode, Box<dyn Error>> {
    let are_all_applied = stock::import(arguments)?;
    Ok(if are_all_applied { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn export(arguments: &ExportArguments) -> Result<ExitCode, Box<dyn Error>> {
    stock::export(arguments)?;
    Ok(ExitCode::SUCCESS)
}

fn back_up(arguments: &BackupArguments) -> Result<ExitCode, Box<dyn Error>> {
    println!("{}", backup::backup(arguments)?);
    Ok(ExitCode::SUCCESS)
}

fn restore(arguments: &RestoreArguments) -> Result<ExitCode, Box<dyn Error>> {
    match backup::restore(arguments) {
        Ok(summary) => println!("{summary}"),
        Err(error) if error.is_damage() => {
            eprintln!("cartgate: {}", chain(&error));
            return Ok(ExitCode::FAILURE);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn examine(arguments: &DoctorArguments) -> Result<ExitCode, Box<dyn Error>> {
    let report = match (&arguments.data, arguments.store.clone().or_else(store_of_environment)) {
        (Some(data), _) => doctor::examine_data(data)?,
        (None, Some(store)) => doctor::examine(&store.parse()?, &arguments.prefix)?,
        (None, None) => {
            return Err("say which store: --store redis://... or --data DIRECTORY".into());
        }
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    let is_bad = report.level() == Level::Bad;
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn store_of_environment() -> Option<String> {
    std::env::var("CARTGATE_STORE").ok()
}

fn check(arguments: &CheckConfigArguments) -> Result<ExitCode, Box<dyn Error>> {
    let report = check_config::examine(&arguments.files)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    let is_bad = report.level() == check_config::Level::Bad;
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn documentation(format: DocumentFormat) -> Result<String, Box<dyn Error>> {
    Ok(match format {
        DocumentFormat::Json => openapi().to_pretty_json()?,
        DocumentFormat::Html => docs::reference_page().to_owned(),
        DocumentFormat::Problems => docs::problems_markdown(),
    })
}

fn print(text: String) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

fn keep_tokens(action: TokenAction) -> Result<ExitCode, Box<dyn Error>> {
    let of = |TokenFile { file }: &TokenFile| file.display().to_string();
    let in_file = |file: String| move |error| format!("{file}: {}", chain(&error));
    match action {
        TokenAction::Create { file, client, scopes, expires_at } => {
            let created = Keeper::of(&file.file).create(&client, &scopes, expires_at);
            println!("{}", created.map_err(in_file(of(&file)))?);
        }
        TokenAction::List(file) => {
            let entries = Keeper::of(&file.file).list().map_err(in_file(of(&file)))?;
            println!("{}", serde_json::to_string_pretty(&entries)?);
        }
        TokenAction::Revoke { file, id } => {
            let revoked = Keeper::of(&file.file).revoke(&id).map_err(in_file(of(&file)))?;
            eprintln!("revoked: {} of {}", revoked.id, revoked.client);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find_hot_items(arguments: &ScanArguments) -> Result<ExitCode, Box<dyn Error>> {
    scan::run(arguments)?;
    Ok(ExitCode::SUCCESS)
}

fn run(arguments: ServeArguments) -> Result<ExitCode, Box<dyn Error>> {
    let config = read_config(&arguments)?;
    start_logging(arguments.log_format)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = stop_signals()?;
        serve(&config, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Resolves with the first SIGINT or SIGTERM. The second ends the process at once: nothing that
/// anybody was told depends on an orderly end.
fn stop_signals() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let (first, stop) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        next().await;
        // If nobody listens any more, it is ending already.
        let _ = first.send(());
        next().await;
        tracing::warn!("told to stop twice: ending at once");
        std::process::exit(1);
    });
    Ok(async move { drop(stop.await) })
}

fn read_config(arguments: &ServeArguments) -> Result<Config, ConfigError> {
    let mut config = arguments.config.as_deref().map(Config::read).transpose()?.unwrap_or_default();
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    config.metrics_listen = arguments.metrics_listen.or(config.metrics_listen);
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    if let Some(url) = &arguments.store {
        config.store = Some(StoreUrl::try_from(url.clone()).map_err(ConfigError::Store)?);
    }
    if let Some(roles) = &arguments.roles {
        config.roles = roles.iter().copied().collect();
    }
    config.access.development |= arguments.development;
    config.check()?;
    Ok(config)
}

fn start_logging(format: LogFormat) -> Result<(), Box<dyn Error>> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) => EnvFilter::try_new(directives)?,
        // The database tells of every file it writes.
        Err(_) => EnvFilter::new("info,fjall=warn,lsm_tree=warn"),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
