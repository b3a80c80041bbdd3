//! The benchmarks; `make bench-engine` and its neighbours run one of them each.

use std::io;

use cartgate_tests::bench::arguments::Arguments;
use cartgate_tests::bench::run::Run;
use cartgate_tests::bench::{
    backup, control, cost, durability, edge, engine, flood, http, import, istio, latency, memory,
    recovery, redis,
};
use clap::{Args, Parser, Subcommand, ValueEnum};

/// Benchmarks. Each ends in a panic if a figure cannot be trusted; figures that miss their targets are told,
/// and are no failure.
#[derive(Debug, Parser)]
#[command(name = "bench", max_term_width = 100)]
struct Options {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// The engine, beside the conventional way
    Engine(OfEngine<EnginePart>),
    /// The engine on Redis, beside one script a reservation and the embedded store
    Redis(OfEngine<RedisPart>),
    /// Stock in bulk; what tokens and traces cost
    Api(OfEngine<ApiPart>),
    /// The filter in Envoy, beside Envoy without it and with what limits elsewhere
    Edge {
        #[command(flatten)]
        arguments: Arguments,

        /// Measure what a flood of invented SKUs does to Envoy's memory, instead of what requests cost
        #[arg(long)]
        memory: bool,
    },
    /// How soon edges hear what the service knows, and the service what edges are asked for, with four real
    /// Envoys
    Control {
        #[command(flatten)]
        arguments: Arguments,
    },
    /// What a limit per product costs at a gateway that a real istiod has configured: by our filter, and by
    /// Envoy's global rate limit
    Istio {
        #[command(flatten)]
        arguments: Arguments,
    },
}

/// What those are told that measure the engine in parts.
#[derive(Debug, Args)]
struct OfEngine<Part: ValueEnum + Clone + Send + Sync + 'static> {
    /// Only this measurement; may be given more than once
    #[arg(long, value_enum)]
    only: Vec<Part>,

    #[command(flatten)]
    arguments: Arguments,
}

impl<Part: ValueEnum + Clone + Send + Sync + PartialEq + 'static> OfEngine<Part> {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EnginePart {
    Durability,
    Http,
    Latency,
    Memory,
    Flood,
    Engine,
    Recovery,
    Backup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RedisPart {
    Engine,
    Http,
    Takeover,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ApiPart {
    Import,
    Access,
    Tracing,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    match Options::parse().benchmark {
        Benchmark::Engine(options) => of_engine(options).await,
        Benchmark::Redis(options) => on_redis(options).await,
        Benchmark::Api(options) => of_api(options).await,
        Benchmark::Edge { arguments, memory: false } => {
            whole(arguments, "edge", edge::measure).await
        }
        Benchmark::Edge { arguments, memory: true } => {
            whole(arguments, "edge-memory", edge::measure_memory).await
        }
        Benchmark::Control { arguments } => whole(arguments, "control", control::measure).await,
        Benchmark::Istio { arguments } => whole(arguments, "istio", istio::measure).await,
    }
}

/// A benchmark without parts.
async fn whole(
    arguments: Arguments,
    name: &str,
    measure: impl AsyncFnOnce(&mut Run),
) -> io::Result<()> {
    let mut run = arguments.begin();
    measure(&mut run).await;
    arguments.finish(&run, name, false)
}

async fn of_engine(options: OfEngine<EnginePart>) -> io::Result<()> {
    let mut run = options.arguments.begin();
    // Latency is compared with a write of as many bytes as the trace has seen.
    if options.wants(EnginePart::Durability) || options.wants(EnginePart::Latency) {
        durability::measure(&mut run).await;
    }
    if options.wants(EnginePart::Latency) {
        latency::measure(&mut run).await;
    }
    if options.wants(EnginePart::Http) {
        http::measure(&mut run).await;
    }
    if options.wants(EnginePart::Flood) {
        flood::measure(&mut run).await;
    }
    if options.wants(EnginePart::Memory) {
        memory::measure(&mut run).await;
    }
    if options.wants(EnginePart::Engine) {
        engine::measure(&mut run).await;
    }
    if options.wants(EnginePart::Recovery) {
        recovery::measure(&mut run).await;
    }
    if options.wants(EnginePart::Backup) {
        backup::measure(&mut run).await;
    }
    options.arguments.finish(&run, "engine", !options.only.is_empty())
}

async fn of_api(options: OfEngine<ApiPart>) -> io::Result<()> {
    let mut run = options.arguments.begin();
    if options.wants(ApiPart::Import) {
        import::measure(&mut run).await;
    }
    if options.wants(ApiPart::Access) {
        cost::of_access(&mut run).await;
    }
    if options.wants(ApiPart::Tracing) {
        cost::of_tracing(&mut run).await;
    }
    options.arguments.finish(&run, "api", !options.only.is_empty())
}

async fn on_redis(options: OfEngine<RedisPart>) -> io::Result<()> {
    let mut run = options.arguments.begin();
    if options.wants(RedisPart::Engine) {
        redis::engine::measure(&mut run).await;
    }
    if options.wants(RedisPart::Http) {
        redis::http::measure(&mut run).await;
    }
    if options.wants(RedisPart::Takeover) {
        redis::takeover::measure(&mut run).await;
    }
    options.arguments.finish(&run, "redis", !options.only.is_empty())
}
