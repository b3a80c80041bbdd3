//! Sends a file, shows what comes of it, and goes on when the connection breaks.

use std::time::Duration;

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use cartgate_policy::problem::ProblemType;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::time::sleep;

use super::content::Content;
use super::told::{Answer, Told};
use super::{ImportArguments, StockError, block_on};
use crate::client::{CallError, ServiceArguments, problem_text, read};
use crate::grouped::Grouped;
use crate::http::stock_imports::{REPR_DIGEST, repr_digest};
use crate::store::imports::Counts;

/// How often in a row it is tried without any progress.
const TRIES: u32 = 10;

/// How long to wait before it is tried again: longer each time, up to this.
const PAUSE_MAX: Duration = Duration::from_secs(8);

/// How often the bar is drawn, per second.
const FRAMES_PER_S: u8 = 5;

/// Imports a file. Says whether all of its lines were applied.
///
/// # Errors
/// It could not be completed.
pub fn import(arguments: &ImportArguments) -> Result<bool, StockError> {
    let content = Content::look_through(&arguments.file, arguments.format)?;
    let mut import = Import {
        service: &arguments.service,
        bar: bar(content.lines),
        content,
        lines: 0,
        refused: 0,
        is_old: false,
        has_broken: false,
        is_again: arguments.again,
    };
    let counts = block_on(import.run())?;
    let Counts { set, unchanged, refused } = counts;
    let [lines, set, unchanged, refused] =
        [import.lines, set, unchanged, refused].map(|count| Grouped(count).to_string());
    if import.is_old {
        println!(
            "imported before, nothing was applied now; with --again it is: this came of it then:"
        );
    }
    println!("{lines} lines: {set} set, {unchanged} unchanged, {refused} refused");
    Ok(counts.refused == 0)
}

/// An import that is under way.
struct Import<'a> {
    service: &'a ServiceArguments,
    content: Content,
    bar: ProgressBar,
    /// The last line that is decided, and the last one that is known to be refused.
    lines: u64,
    refused: u64,
    /// Whether all of it was imported before this command came.
    is_old: bool,
    /// Whether an attempt of this command has.
    has_broken: bool,
    /// Whether it is to be applied though it was imported before.
    is_again: bool,
}

/// How an attempt went on.
enum Attempt {
    Complete(Counts),
    /// It may be tried again.
    Broken(CallError),
}

impl Import<'_> {
    async fn run(&mut self) -> Result<Counts, StockError> {
        let mut tries = 0;
        let mut pause = Duration::from_millis(250);
        loop {
            let before = self.lines;
            let error = match self.attempt().await? {
                Attempt::Complete(counts) => {
                    self.bar.finish_and_clear();
                    return Ok(counts);
                }
                Attempt::Broken(error) => error,
            };
            self.has_broken = true;
            if self.lines > before {
                (tries, pause) = (0, Duration::from_millis(250));
            }
            tries += 1;
            if tries == TRIES {
                return Err(StockError::Away { tries, lines: self.lines, source: error });
            }
            self.say_aside(&format!("{error}: goes on after line {}", self.lines));
            sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    async fn attempt(&mut self) -> Result<Attempt, StockError> {
        let mut head = self.service.head(Method::POST, "/v1/stock-imports");
        head = head.header(CONTENT_TYPE, self.content.format.media_type());
        if !self.is_again {
            head = head.header(REPR_DIGEST, repr_digest(self.content.digest));
        }
        if self.content.is_gzip {
            head = head.header(CONTENT_ENCODING, "gzip");
        }
        let answer = match self.service.send(head, self.content.body()?).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Attempt::Broken(error)),
        };
        if answer.status() != StatusCode::OK {
            let passes = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
            return match read(answer).await {
                Ok(answer) if passes => Ok(Attempt::Broken(CallError::NoAnswer(answer.said()))),
                Ok(answer) => Err(StockError::Refused { said: answer.said() }),
                Err(error) => Ok(Attempt::Broken(error)),
            };
        }
        self.hear(Answer::new(answer.into_body())).await
    }

    async fn hear(&mut self, mut answer: Answer) -> Result<Attempt, StockError> {
        loop {
            match answer.next().await {
                Err(error) => return Ok(Attempt::Broken(error)),
                Ok(Told::Refused { line, problem }) => self.say_refused(line, &problem),
                Ok(Told::Standing { line, state, .. }) => {
                    let is_whole = state == "resumed" && line >= self.content.lines;
                    self.is_old |= is_whole && !self.has_broken;
                    self.advance(line);
                }
                Ok(Told::End { done: true, lines, counts, .. }) => {
                    self.advance(lines);
                    return Ok(Attempt::Complete(counts));
                }
                Ok(Told::End { lines, problem, .. }) => {
                    self.advance(lines);
                    return ended(lines, &problem);
                }
            }
        }
    }

    fn advance(&mut self, line: u64) {
        self.lines = line;
        self.bar.set_position(line);
    }

    /// What was told before comes once more when an import is resumed.
    fn say_refused(&mut self, line: u64, problem: &Value) {
        if line > self.refused {
            self.refused = line;
            let text = problem_text(problem);
            self.bar.suspend(|| println!("line {line}: {text}"));
        }
    }

    fn say_aside(&self, text: &str) {
        self.bar.suspend(|| eprintln!("cartgate: {text}"));
    }
}

/// An import that the service has ended.
fn ended(lines: u64, problem: &Value) -> Result<Attempt, StockError> {
    let said = problem_text(problem);
    let passes = [ProblemType::Unavailable, ProblemType::LaneFull, ProblemType::RequestTimeout];
    if passes.iter().any(|passing| problem["type"] == passing.uri()) {
        return Ok(Attempt::Broken(CallError::NoAnswer(said)));
    }
    Err(StockError::Ended { lines, said })
}

/// Shown only where standard error is a terminal.
fn bar(lines: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(
        Some(lines),
        ProgressDrawTarget::stderr_with_hz(FRAMES_PER_S),
    );
    let template = "{wide_bar} {human_pos} of {human_len} lines, {per_sec}, {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
