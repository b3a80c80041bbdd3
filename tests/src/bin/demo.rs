//! The demo that `make run` starts: the service, Envoy with the filter in front of it, and a few
//! products in stock; with `--store redis`, a Redis as well. It runs until Ctrl-C, or until one of
//! them ends by itself.

use std::fs;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use cartgate_tests::process::{Process, StartError};
use cartgate_tests::redis::{Redis, RedisOptions};
use cartgate_tests::{Envoy, Service, ServiceOptions, Shop, StoreKind, paths, ports};
use clap::Parser;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Where the parts listen, as `envoy/envoy.yaml` says.
const SERVICE_PORT: u16 = 8080;
const ENVOY_PORT: u16 = 10_000;
const ADMIN_PORT: u16 = 9901;

/// What is put in stock, unless it is there from an earlier run.
const CATALOGUE: [(&str, u64); 3] =
    [("LIMITED-SNEAKER", 20), ("TEE-WHITE-M", 500), ("DENIM-501", 200)];

/// The service, and Envoy with the filter in front of it.
#[derive(Debug, Parser)]
struct Arguments {
    /// What the service keeps its data in: a store of its own, or a Redis that is started with it
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
}

/// What the demo consists of.
struct Parts {
    envoy: Envoy,
    service: Service,
    redis: Option<Redis>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().store).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts everything, and returns once everything has stopped.
async fn run(store: StoreKind) -> Result<(), DemoError> {
    let mut stop = StopSignals::listen().map_err(DemoError::Signals)?;
    for port in [SERVICE_PORT, ENVOY_PORT, ADMIN_PORT] {
        if !ports::is_free(ports::loopback(port)) {
            return Err(DemoError::PortTaken { port });
        }
    }
    let dir = paths::repo_root().join("run");
    clear_logs(&dir.join("log")).map_err(DemoError::Log)?;
    let Parts { mut envoy, mut service, mut redis } = tokio::select! {
        started = start(store, &dir) => started?,
        // Dropping what has started so far kills it.
        () = stop.received() => return Ok(()),
    };
    println!("{}", welcome());
    let mut redis = redis.as_mut().map(|redis| &mut redis.process);
    let ended = tokio::select! {
        () = stop.received() => Ok(()),
        status = service.process.wait() => Err(DemoError::ended(&service.process, status)),
        status = envoy.process.wait() => Err(DemoError::ended(&envoy.process, status)),
        ended = redis_to_end(redis.as_deref_mut()) => Err(ended),
    };
    println!("stopping");
    // Envoy first, so that no request finds the service gone; and its store last.
    for process in [&mut envoy.process, &mut service.process].into_iter().chain(redis) {
        process.stop().await.map_err(DemoError::Signals)?;
    }
    ended
}

/// Waits until Redis ends by itself, if there is one.
async fn redis_to_end(redis: Option<&mut Process>) -> DemoError {
    match redis {
        Some(redis) => {
            let status = redis.wait().await;
            DemoError::ended(redis, status)
        }
        None => pending().await,
    }
}

/// Data are kept between runs, logs are not.
fn clear_logs(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn start(store: StoreKind, dir: &Path) -> Result<Parts, DemoError> {
    let address = ports::loopback(SERVICE_PORT);
    let mut options = ServiceOptions::new(dir).listen(address).own_group();
    let mut redis = None;
    if store == StoreKind::Redis {
        println!("starting Redis");
        let started = Redis::start(&RedisOptions::new(&dir.join("redis")).own_group()).await?;
        options = options.store(&started.url());
        redis = Some(started);
    }
    println!("starting the service");
    let service = Service::start(&options).await?;
    fill_stock(address).await?;
    println!("starting Envoy");
    let envoy = Envoy::start_as_shipped(dir).await?;
    Ok(Parts { envoy, service, redis })
}

async fn fill_stock(service: SocketAddr) -> Result<(), DemoError> {
    let shop = Shop::at(service);
    for (sku, quantity) in CATALOGUE {
        if shop.stock(sku).await?.status == 404 {
            let answer = shop.set_stock(sku, quantity).await?;
            if answer.status != 200 {
                return Err(DemoError::Stock { sku, status: answer.status });
            }
        }
    }
    Ok(())
}

/// What tells the demo to stop: Ctrl-C, `kill`, or its terminal closing.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

fn welcome() -> String {
    let [(sneaker, sneakers), (tee, tees), (denim, denims)] = CATALOGUE;
    let shoppers = format!("http://127.0.0.1:{ENVOY_PORT}");
    let service = format!("http://127.0.0.1:{SERVICE_PORT}");
    format!(
        r#"
cartgate is running.

  for shoppers   {shoppers}  Envoy with the filter; reservations and tickets only
  for the shop   {service}   the service itself: stock, journal, /metrics
  Envoy's admin  http://127.0.0.1:{ADMIN_PORT}
  logs           run/log/    data: run/data/ or run/redis/, kept between runs

In stock the first time: {sneaker} {sneakers}, {tee} {tees}, {denim} {denims}. Try, in another terminal:

1. Reserve one: 201, held.
   curl -i {shoppers}/v1/reservations -H 'content-type: application/json' -d '{{"sku": "{tee}", "quantity": 1, "customer_id": "ann"}}'

2. Ten bots want a limited product, as a browser posts a form: some get 201, the rest 429.
   for i in 1 2 3 4 5 6 7 8 9 10; do curl -s -o /dev/null -w '%{{http_code}}\n' {shoppers}/v1/reservations -d "sku={sneaker}&customer_id=bot-$i"; done

3. What is left of it?
   curl {service}/v1/skus/{sneaker}

4. A crowd wants all of it at once: 30 seconds of a sale, judged by what its customers are told.
   make drill ARGS="--edge {shoppers} --service {service}"

To follow a request from Envoy to the commit, take the x-request-id of its answer:
   grep -h X-REQUEST-ID run/log/access.log run/log/cartgate.log

Ctrl-C stops everything."#
    )
}

/// Why the demo does not run, or runs no longer.
#[derive(Debug, Error)]
enum DemoError {
    #[error(
        "port {port} on 127.0.0.1 is taken: stop what listens there \
         (`ss -ltnp sport = :{port}` names it), then try again"
    )]
    PortTaken { port: u16 },
    #[error("cannot clear run/log: {0}")]
    Log(#[source] io::Error),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("the service does not answer: {0}")]
    Call(#[from] reqwest::Error),
    #[error("the service refuses stock for {sku}: status {status}")]
    Stock { sku: &'static str, status: u16 },
    #[error("{name} ended by itself ({status}); the end of its log:\n{log}")]
    Ended { name: &'static str, status: ExitStatus, log: String },
    #[error("cannot watch over signals and processes: {0}")]
    Signals(#[source] io::Error),
}

impl DemoError {
    fn ended(process: &Process, status: io::Result<ExitStatus>) -> Self {
        match status {
            Ok(status) => Self::Ended { name: process.name(), status, log: process.log_tail() },
            Err(error) => Self::Signals(error),
        }
    }
}
