//! Is an answer durable before it leaves? The real service, watched by `strace`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::closed::{self, Caller};
use super::figures::Figure;
use super::request::{Skus, Template};
use super::run::{Run, progress};
use super::statistics::median;
use super::trace::{self, CALLS, Findings};
use super::watch::fill;
use crate::process::poll_until;

/// How long callers ask under `strace`, which makes everything slow.
const LASTS: Duration = Duration::from_secs(2);

/// Callers at a time: alone, so that a commit is one reservation's; and many, so that there are
/// batches, and answers that could overtake them.
const CALLERS: [usize; 2] = [1, 32];

/// Traces the service.
///
/// # Panics
/// It answers before what it says is durable.
pub async fn measure(run: &mut Run) {
    let mut answered = 0;
    for callers in CALLERS {
        progress(&format!("strace of the service, {callers} callers"));
        let findings = traced(run, callers).await;
        let Findings { premature, synced, .. } = &findings;
        assert!(findings.answered > 0, "nothing was answered under strace");
        assert!(premature.is_empty(), "answered before they were durable: {premature:?}");
        answered += findings.answered;
        if callers == 1 {
            let bytes: Vec<f64> = synced.iter().map(|bytes| *bytes as f64).collect();
            run.commit_bytes = Some(median(&bytes) as usize);
        }
    }
    let note = "answers in an strace of the service, each sent after the fdatasync of its commit";
    run.add(Figure::new("durable_before_answer", answered as f64, "").note(note));
}

async fn traced(run: &Run, callers: usize) -> Findings {
    let name = format!("traced-{callers}");
    let (trace, data) = (run.dir().join(&name).join("strace"), run.dir().join(&name).join("data"));
    let calls = format!("--trace={CALLS}");
    let trace_to = format!("--output={}", path(&trace));
    // The tracer is the service's grandchild, not its parent: whoever stops the service stops it.
    let strace = ["strace", "-D", "-f", "-y", "--seccomp-bpf", "--string-limit=1048576"];
    let strace = [&strace[..], &["--signal=none", &calls, &trace_to]].concat();
    let options = run.service_options(&name, "").under(&strace);
    fs::create_dir_all(run.dir().join(&name)).expect("a directory for the trace");
    let mut service = run.start(&options).await;
    fill(&service, 0).await;
    let callers = Caller::connect_all(service.address(), callers).await;
    let template = Template::reservation(service.address(), Skus::Hot);
    let tally = closed::run(callers, &template, &run.numbers, LASTS).await;
    service.process.stop().await.expect("the service ends");
    let findings = trace::read(&whole(&trace).await, path(&data));
    // The trace has seen every answer: none was sent by a call that is not traced.
    assert!(findings.answered >= tally.told.len(), "{findings:?}, {tally:?}");
    findings
}

/// The trace, once the tracer has written its last line.
async fn whole(trace: &Path) -> String {
    let read = || async {
        let bytes = fs::read(trace).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let last = text.lines().last()?;
        last.ends_with("+++ exited with 0 +++").then_some(text)
    };
    poll_until(Duration::from_secs(10), read).await.expect("the end of the trace")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}
