//! The answers to requests that do not go on to the service.

use cartgate_policy::answer::{Answers, Body, RateLimitFields, Voice};
use cartgate_policy::extract::{ExtractError, Failure, Line};
use cartgate_policy::fleet::Gate;
use cartgate_policy::gcra::{Decision, Limit};
use cartgate_policy::problem::{Problem, ProblemType};

use crate::admit::Refused;
use crate::count::NS_PER_MS;
use crate::edge::EdgeError;
use crate::host::{self, HostError, LogLevel};
use crate::metrics::Outcome;

const NS_PER_S: u64 = 1_000_000_000;

/// When to ask again for what an operator has paused: nobody knows.
const PAUSED_NS: u64 = 5 * NS_PER_S;

/// What is answered in the service's place, and what it counts as.
#[derive(Debug, PartialEq)]
pub(crate) struct Reply {
    /// What became of the request.
    pub(crate) outcome: Outcome,
    /// The answer.
    pub(crate) problem: Problem,
    /// What the limit is that did not admit it, and what is left of it.
    rate_limit: Option<RateLimitFields>,
}

impl Refused {
    /// What becomes of a request that is refused so.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::ByGate(Gate::SoldOut { .. }) => Outcome::SoldOut,
            Self::ByGate(Gate::NotOpenYet { .. }) => Outcome::NotOpenYet,
            Self::ByGate(Gate::Closed) => Outcome::Closed,
            Self::ByGate(Gate::Paused | Gate::Open) => Outcome::Paused,
            Self::ByLimit { decision: Decision::Denied { .. }, is_per_client, .. } => {
                if *is_per_client {
                    Outcome::ClientDenied
                } else {
                    Outcome::Denied
                }
            }
            Self::ByLimit { .. } => Outcome::OverBurst,
        }
    }
}

impl Reply {
    /// The answer to a request of which this line is not admitted. `jitter` is any random number.
    pub(crate) fn for_refused(refused: Refused, line: &Line, jitter: u64) -> Self {
        let outcome = refused.outcome();
        let (problem, rate_limit) = match refused {
            Refused::ByGate(gate) => (of_gate(gate, line, jitter), None),
            Refused::ByLimit {
                decision: Decision::Denied { retry_after_ns },
                limit,
                is_per_client,
            } => of_limit(limit, is_per_client, retry_after_ns, line, jitter),
            Refused::ByLimit { limit, .. } => (of_burst(limit, line), None),
        };
        Self { outcome, problem, rate_limit }
    }

    /// The answer to a request in which no SKU or quantity could be read.
    pub(crate) fn for_unreadable(error: &ExtractError) -> Self {
        let problem = Problem::new(error.problem_type()).detail(error.to_string());
        Self { outcome: Outcome::Failed(error.failure()), problem, rate_limit: None }
    }

    /// The answer to a body of more than `max` bytes.
    pub(crate) fn for_body_too_large(max: usize) -> Self {
        let detail = format!("at most {max} bytes are read");
        let problem = Problem::new(ProblemType::BodyTooLarge).detail(detail);
        Self { outcome: Outcome::Failed(Failure::Oversize), problem, rate_limit: None }
    }

    /// The answer when counting failed: by its failure mode the request is refused. Clients learn no more than
    /// when to come again; the log says why.
    pub(crate) fn for_uncounted(error: &EdgeError, jitter: u64) -> Self {
        let (outcome, problem_type) = match error {
            EdgeError::Contended => (Outcome::Contended, ProblemType::OverLimit),
            EdgeError::Host(_) | EdgeError::Seed | EdgeError::Headers | EdgeError::Unconfigured => {
                (Outcome::Failed(Failure::Uncounted), ProblemType::Unavailable)
            }
        };
        let problem = Problem::new(problem_type).retry_after_s(retry_after_s(NS_PER_S, jitter));
        Self { outcome, problem, rate_limit: None }
    }

    /// The line that the answer leaves in a debug log, with what is `told` of the request.
    pub(crate) fn log_line(&self, told: &str) -> String {
        let outcome = self.outcome.name();
        let member = |name| self.problem.member(name).map_or("-".to_owned(), ToString::to_string);
        let (sku, retry_after_ms) = (member("sku"), member("retry_after_ms"));
        format!(
            "request refused {told} outcome={outcome} sku={sku} retry_after_ms={retry_after_ms}"
        )
    }

    /// Sends the answer.
    ///
    /// Failure mode: the request stays paused, and Envoy's timeouts end it. It is not admitted.
    pub(crate) fn send(&self, answers: &Answers, voice: Voice) {
        if let Err(error) = self.try_send(&answers.body(&self.problem, voice)) {
            host::log(LogLevel::Error, &format!("cannot answer error=\"{error}\""));
        }
    }

    fn try_send(&self, body: &Body) -> Result<(), HostError> {
        let retry_after = self.problem.retry_after_s.map(|seconds| seconds.to_string());
        let mut headers: Vec<(&[u8], &[u8])> = vec![
            (b"content-type", body.content_type.as_bytes()),
            (b"content-language", body.language.as_bytes()),
            (b"cache-control", b"no-store"),
        ];
        if let Some(seconds) = &retry_after {
            headers.push((b"retry-after", seconds.as_bytes()));
        }
        if let Some(RateLimitFields { policy, limit }) = &self.rate_limit {
            headers.push((b"ratelimit-policy", policy.as_bytes()));
            headers.push((b"ratelimit", limit.as_bytes()));
        }
        let details = format!("cartgate_{}", self.outcome.name());
        let status = self.problem.problem_type.status();
        host::send_response(status, &details, &headers, &body.bytes)
    }
}

fn of_gate(gate: Gate, line: &Line, jitter: u64) -> Problem {
    let problem = |of| Problem::new(of).with("sku", line.sku.as_str());
    let again = |problem: Problem, ns| problem.retry_after_s(retry_after_s(ns, jitter));
    let again_in = |problem: Problem, member, ms: u64| {
        again(problem.with(member, ms), ms.saturating_mul(NS_PER_MS))
    };
    match gate {
        Gate::SoldOut { recheck_in_ms } => {
            again_in(problem(ProblemType::SoldOut), "recheck_in_ms", recheck_in_ms)
        }
        Gate::NotOpenYet { opens_in_ms } => {
            again_in(problem(ProblemType::NotOpenYet), "opens_in_ms", opens_in_ms)
        }
        Gate::Closed => problem(ProblemType::SaleClosed),
        Gate::Paused | Gate::Open => again(problem(ProblemType::Paused), PAUSED_NS),
    }
}

fn of_limit(
    limit: Limit,
    is_per_client: bool,
    retry_after_ns: u64,
    line: &Line,
    jitter: u64,
) -> (Problem, Option<RateLimitFields>) {
    let (problem_type, policy) = match is_per_client {
        true => (ProblemType::ClientOverLimit, "client"),
        false => (ProblemType::OverLimit, "sku"),
    };
    let problem = Problem::new(problem_type)
        .with("sku", line.sku.as_str())
        .with("retry_after_ms", retry_after_ns.div_ceil(NS_PER_MS))
        // As in the draft's own problem type.
        .with("violated-policies", vec![policy])
        .retry_after_s(retry_after_s(retry_after_ns, jitter));
    let fields = RateLimitFields::new(policy, limit, &line.sku, line.quantity, retry_after_ns);
    (problem, Some(fields))
}

fn of_burst(limit: Limit, line: &Line) -> Problem {
    Problem::new(ProblemType::OverBurst)
        .with("sku", line.sku.as_str())
        .with("quantity", line.quantity.get())
        .with("quantity_max", limit.burst())
}

/// `Retry-After`: the true time in whole seconds, never sooner, and up to a quarter later (one
/// second at least, thirty at most), so that those denied together do not come back together.
fn retry_after_s(retry_after_ns: u64, jitter: u64) -> u32 {
    let true_s = retry_after_ns.div_ceil(NS_PER_S).max(1);
    let spread_s = (true_s / 4).clamp(1, 30);
    u32::try_from(true_s + jitter % (spread_s + 1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cartgate_policy::gcra::Limit;
    use cartgate_policy::{Quantity, Sku};
    use serde_json::{Value, json};

    fn line() -> Line {
        Line { sku: Sku::parse("A-1").unwrap(), quantity: Quantity::new(7).unwrap() }
    }

    fn check(reply: Reply, outcome: Outcome, retry_after_s: Option<u32>, expected: Value) {
        let mut body: Value = serde_json::from_slice(&reply.problem.body()).unwrap();
        body.as_object_mut().unwrap().remove("title");
        assert_eq!((reply.outcome, reply.problem.retry_after_s), (outcome, retry_after_s));
        assert_eq!(body, expected);
    }

    #[test]
    fn decisions() {
        let limit = Limit::new(5, 5).unwrap();
        let reply = |decision, is_per_client| {
            Reply::for_refused(Refused::ByLimit { decision, limit, is_per_client }, &line(), 0)
        };
        let denied = Decision::Denied { retry_after_ns: 1_200_000_001 };
        for (is_per_client, outcome, slug) in [
            (false, Outcome::Denied, "over-limit"),
            (true, Outcome::ClientDenied, "client-over-limit"),
        ] {
            check(
                reply(denied, is_per_client),
                outcome,
                Some(2),
                json!({
                    "type": format!("urn:cartgate:problem:{slug}"), "status": 429,
                    "sku": "A-1", "retry_after_ms": 1201,
                    "violated-policies": [if is_per_client { "client" } else { "sku" }],
                }),
            );
        }
        check(
            reply(Decision::OverBurst, true),
            Outcome::OverBurst,
            None,
            json!({
                "type": "urn:cartgate:problem:over-burst", "status": 422,
                "sku": "A-1", "quantity": 7, "quantity_max": 5,
            }),
        );
    }

    #[test]
    fn gates() {
        let problem = |slug, status| json!({"type": format!("urn:cartgate:problem:{slug}"), "status": status, "sku": "A-1"});
        let with = |mut problem: Value, member: &str, ms: u64| {
            problem[member] = ms.into();
            problem
        };
        for (gate, outcome, retry_after_s, expected) in [
            (
                Gate::SoldOut { recheck_in_ms: 1_500 },
                Outcome::SoldOut,
                Some(2),
                with(problem("sold-out", 409), "recheck_in_ms", 1_500),
            ),
            (
                Gate::NotOpenYet { opens_in_ms: 60_001 },
                Outcome::NotOpenYet,
                Some(61),
                with(problem("not-open-yet", 403), "opens_in_ms", 60_001),
            ),
            (Gate::Closed, Outcome::Closed, None, problem("sale-closed", 403)),
            (Gate::Paused, Outcome::Paused, Some(5), problem("paused", 503)),
        ] {
            let reply = Reply::for_refused(Refused::ByGate(gate), &line(), 0);
            check(reply, outcome, retry_after_s, expected);
        }
    }

    #[test]
    fn other_refusals() {
        check(
            Reply::for_unreadable(&ExtractError::NoSku),
            Outcome::Failed(Failure::NoSku),
            None,
            json!({
                "type": "urn:cartgate:problem:no-sku", "status": 400,
                "detail": "the request names no SKU",
            }),
        );
        check(
            Reply::for_body_too_large(10),
            Outcome::Failed(Failure::Oversize),
            None,
            json!({
                "type": "urn:cartgate:problem:body-too-large", "status": 413,
                "detail": "at most 10 bytes are read",
            }),
        );
        check(
            Reply::for_uncounted(&EdgeError::Contended, 0),
            Outcome::Contended,
            Some(1),
            json!({"type": "urn:cartgate:problem:over-limit", "status": 429}),
        );
        check(
            Reply::for_uncounted(&EdgeError::Seed, 0),
            Outcome::Failed(Failure::Uncounted),
            Some(1),
            json!({"type": "urn:cartgate:problem:unavailable", "status": 503}),
        );
    }

    #[test]
    fn retry_after_is_never_sooner_than_true() {
        for (ns, earliest, latest) in [
            (0, 1, 2),
            (1, 1, 2),
            (NS_PER_S, 1, 2),
            (NS_PER_S + 1, 2, 3),
            (40 * NS_PER_S, 40, 50),
            (1_000 * NS_PER_S, 1_000, 1_030),
        ] {
            let all: Vec<_> = (0..1_000).map(|jitter| retry_after_s(ns, jitter)).collect();
            assert_eq!(all.iter().min(), Some(&earliest), "{ns}");
            assert_eq!(all.iter().max(), Some(&latest), "{ns}");
        }
        // The end of the clock: 2^64 ns are 584 years.
        assert_eq!(retry_after_s(u64::MAX, 0), u32::MAX);
    }
}
