//! What an operator asks for.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use cartgate_policy::extract::Method;
use clap::ArgGroup;

use super::line::{Format, Keys};
use super::place::Place;
use crate::client::{ServiceUrl, Token};

/// Find hot items in access logs of Envoy or Istio, and register them if told to. Ends with 0, also if there
/// are none, and with 1 on errors.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("place").args(["sku", "routes"]).required(true))]
pub struct ScanArguments {
    /// Access logs, gz or not; a directory stands for all files in it and below, `-` or nothing for standard input.
    /// They are read side by side, in order of time: logs of several edges are one.
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where the SKU is: `path:/cart/{sku}/add`, `query:NAME`, or `json:KEY` of a JSON line; `lines:lines` is what
    /// cartgate's filter leaves there of any request. May be given several times; the first that is there
    /// counts.
    #[arg(long, value_name = "PLACE")]
    pub sku: Vec<Place>,
    /// A filter's configuration (JSON), whose routes say where the SKU is, as far as path and query go.
    #[arg(long, value_name = "FILE", conflicts_with = "method")]
    pub routes: Option<PathBuf>,
    /// The method of the requests to count.
    #[arg(long, default_value = "POST", value_parser = method)]
    pub method: Method,
    /// How all lines are written. Without it, each line shows by its beginning how it is.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The keys of JSON lines.
    #[command(flatten)]
    pub keys: Keys,
    /// Over how long a peak is counted, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1_000,
        value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub window_ms: u64,
    /// The peak, in requests per second, from which on a SKU is hot.
    #[arg(long, value_name = "PER_S", default_value = "100")]
    pub threshold: NonZeroU32,
    /// How long after a later one a line may come, in milliseconds: a request is logged when it ends, with
    /// the time at which it began. The default is Envoy's for how long a request may take.
    #[arg(long, value_name = "MS", default_value_t = 15_000,
        value_parser = clap::value_parser!(u64).range(0..=600_000))]
    pub late_ms: u64,
    /// Pass over requests that began longer ago than this, such as `10m`: a log may be of a whole day.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub last: Option<Duration>,
    /// The most SKUs to propose: those with the highest peaks.
    #[arg(long, value_name = "COUNT", default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub items_max: u16,
    /// Write JSON, for machines.
    #[arg(long)]
    pub json: bool,
    /// What becomes of the hot ones.
    #[command(flatten)]
    pub register: RegisterArguments,
}

/// How to register.
#[derive(Debug, clap::Args)]
pub struct RegisterArguments {
    /// A running service, http://host:port, at which to register them. What somebody has registered there
    /// by hand or for a date stays as it is.
    #[arg(long = "register", value_name = "URL")]
    pub url: Option<ServiceUrl>,
    /// What to say there who asks: sent as `Authorization: Bearer TOKEN`.
    #[arg(long, env = "CARTGATE_TOKEN", hide_env_values = true)]
    pub token: Option<Token>,
    /// Only say what would be sent.
    #[arg(long, requires = "url")]
    pub dry_run: bool,
    /// For how long they are registered, from now on.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub expire_after: Duration,
    /// The limit of all edges together, in units per second.
    #[arg(long, value_name = "UNITS", requires = "url")]
    pub limit_per_second: Option<NonZeroU32>,
    /// The limit's burst: at least as many as the limit per second, which it is without this.
    #[arg(long, value_name = "UNITS", requires = "limit_per_second")]
    pub limit_burst: Option<NonZeroU32>,
    /// How many reservations their lanes decide per second.
    #[arg(long, value_name = "COUNT", requires = "url")]
    pub reserves_per_s: Option<NonZeroU32>,
}

fn method(raw: &str) -> Result<Method, String> {
    Method::try_from(raw.to_owned()).map_err(|error| error.to_string())
}

/// Reads `10m`, `1h 30m`, `PT1H`: anything above nothing.
fn duration(raw: &str) -> Result<Duration, String> {
    let parsed = raw.parse::<jiff::SignedDuration>().ok();
    let duration = parsed.and_then(|duration| Duration::try_from(duration).ok());
    let is_some = |duration: &Duration| !duration.is_zero();
    duration.filter(is_some).ok_or_else(|| "give a time such as 10m or 1h".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        scan: ScanArguments,
    }

    fn parse(line: &str) -> Result<ScanArguments, String> {
        let words = std::iter::once("scan").chain(line.split_whitespace());
        Command::try_parse_from(words).map(|c| c.scan).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check_refused(line: &str, part: &str) {
        let error = parse(line).unwrap_err();
        assert!(error.contains(part), "{part:?} is not in:\n{error}");
    }

    #[test]
    fn defaults() {
        let scan = parse("--sku query:sku").unwrap();
        assert_eq!((scan.window_ms, scan.threshold.get(), scan.late_ms), (1_000, 100, 15_000));
        assert_eq!((scan.files.len(), scan.last, scan.method.as_bytes()), (0, None, &b"POST"[..]));
        assert_eq!(scan.keys.time_key, ["start_time", "time"]);
        assert_eq!(scan.register.expire_after, Duration::from_secs(3_600));
    }

    #[test]
    fn all_that_can_be_said() {
        let scan = parse(
            "a.log - b.gz --sku path:/cart/{sku}/add --sku json:product --method PUT --last 90s \
             --time-key at,ts --register http://127.0.0.1:8080 --limit-per-second 5 --limit-burst 9",
        );
        let scan = scan.unwrap();
        assert_eq!((scan.files.len(), scan.sku.len()), (3, 2));
        assert_eq!((scan.last, scan.keys.time_key.len()), (Some(Duration::from_secs(90)), 2));
        assert_eq!(scan.register.limit_burst, NonZeroU32::new(9));
    }

    #[test]
    fn what_is_refused() {
        check_refused("", "--sku");
        check_refused("--sku query:sku --routes f.json", "cannot be used with");
        check_refused("--sku sku", "names no place");
        check_refused("--sku query:sku --method post", "use capital letters");
        check_refused("--sku query:sku --window-ms 0", "10..=60000");
        check_refused("--sku query:sku --threshold 0", "threshold");
        check_refused("--sku query:sku --last yesterday", "such as 10m");
        check_refused("--sku query:sku --last 0s", "such as 10m");
        check_refused("--sku query:sku --expire-after=-1h", "such as 10m");
        check_refused("--sku query:sku --dry-run", "--register");
        check_refused("--sku query:sku --register https://shop.example", "TLS");
    }
}
