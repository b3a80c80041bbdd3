//! What `strace` saw of the service: whether anything was answered before it was durable.
//!
//! Every request of a traced run has a customer of its own. Its name is in what the commit writes
//! to a file of the store, and in the answer: so each answer can be held against the `fdatasync` of
//! that file which followed the write, and must have ended before the answer began to be sent.

use std::collections::{HashMap, HashSet};

/// The system calls that are traced: what sends, what writes, what makes durable.
pub const CALLS: &str =
    "fsync,fdatasync,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,sendmmsg";

/// Before the customer's digits, in a trace.
const CUSTOMER: &str = "c-";
const CUSTOMER_DIGITS: usize = 10;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Reservations that were answered.
    pub answered: usize,
    /// Customers who were answered before their reservation was durable.
    pub premature: Vec<String>,
    /// How many bytes each `fdatasync` made durable.
    pub synced: Vec<u64>,
}

/// Reads a trace of a service whose store is in `data`, as `strace -f -y` writes it.
pub fn read(trace: &str, data: &str) -> Findings {
    let mut reader = Reader { data, ..Reader::default() };
    trace.lines().filter_map(Step::parse).for_each(|step| reader.step(&step));
    reader.findings
}

/// A line: a call that is entered, one that is left, or both at once.
struct Step<'a> {
    thread: &'a str,
    entered: Option<Call<'a>>,
    /// What it returned, if it is left and has not failed.
    left: Option<Option<u64>>,
}

#[derive(Clone, Copy)]
struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Step<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (thread, rest) = line.trim_start().split_once(' ')?;
        let rest = rest.trim_start();
        if rest.starts_with("<... ") {
            return Some(Self { thread, entered: None, left: Some(returned(rest)) });
        }
        let (name, arguments) = rest.split_once('(')?;
        let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let entered = is_name.then_some(Call { name, arguments })?;
        let left = (!rest.ends_with("<unfinished ...>")).then(|| returned(rest));
        Some(Self { thread, entered: Some(entered), left })
    }
}

/// `...) = 42`, and perhaps an explanation in brackets; `None` of a call that failed.
fn returned(line: &str) -> Option<u64> {
    let (_, result) = line.rsplit_once(" = ")?;
    result.split(' ').next()?.parse().ok()
}

#[derive(Default)]
struct Reader<'a> {
    data: &'a str,
    /// Calls that have been entered and not left, by thread.
    pending: HashMap<&'a str, Call<'a>>,
    /// What was written to each file, and is not on its way to the disk.
    written: HashMap<&'a str, (String, u64)>,
    /// What each thread is making durable.
    syncing: HashMap<&'a str, (String, u64)>,
    durable: HashSet<String>,
    findings: Findings,
}

impl<'a> Reader<'a> {
    fn step(&mut self, step: &Step<'a>) {
        if let Some(call) = step.entered {
            self.enter(step.thread, call);
            self.pending.insert(step.thread, call);
        }
        if let Some(returned) = step.left
            && let Some(call) = self.pending.remove(step.thread)
        {
            self.leave(step.thread, call, returned);
        }
    }

    fn enter(&mut self, thread: &'a str, call: Call<'a>) {
        match (call.name, self.file(call)) {
            ("fsync" | "fdatasync", Some(file)) => {
                // Only what was written before it began is certain to be in it.
                self.syncing.insert(thread, self.written.remove(file).unwrap_or_default());
            }
            (_, None) if call.arguments.contains("HTTP/1.1 201") => self.answer(call.arguments),
            _ => {}
        }
    }

    fn leave(&mut self, thread: &'a str, call: Call<'a>, returned: Option<u64>) {
        let Some(file) = self.file(call) else { return };
        match (call.name, returned) {
            ("fsync" | "fdatasync", Some(0)) => {
                let (text, bytes) = self.syncing.remove(thread).unwrap_or_default();
                self.durable.extend(customers(&text).map(str::to_owned));
                self.findings.synced.push(bytes);
            }
            ("write" | "writev" | "pwrite64" | "pwritev" | "pwritev2", Some(count)) => {
                let (text, bytes) = self.written.entry(file).or_default();
                text.push_str(call.arguments);
                *bytes += count;
            }
            _ => {}
        }
    }

    fn answer(&mut self, arguments: &str) {
        for customer in customers(arguments) {
            self.findings.answered += 1;
            if !self.durable.contains(customer) {
                self.findings.premature.push(customer.to_owned());
            }
        }
    }

    /// The file of the store that a call is about: `7</data/0.jnl>, ...`.
    fn file(&self, call: Call<'a>) -> Option<&'a str> {
        let (_, path) = call.arguments.split_once('<')?;
        path.starts_with(self.data).then(|| path.split('>').next())?
    }
}

/// Every customer whose name is in `text`.
fn customers(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(CUSTOMER).filter_map(|(place, _)| {
        let name = text.get(place..place + CUSTOMER.len() + CUSTOMER_DIGITS)?;
        name[CUSTOMER.len()..].bytes().all(|b| b.is_ascii_digit()).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: &str = r#"11 write(7</d/0.jnl>, "\1\2c-0000000042\0", 900) = 900"#;
    const SYNC: &str = "11 fdatasync(7</d/0.jnl>) = 0";
    const ANSWER: &str = r#"12 writev(9<TCP:[127.0.0.1:1->127.0.0.1:2]>, [{iov_base="HTTP/1.1 201 Created\r\n\r\n", iov_len=24}, {iov_base="{\"customer_id\":\"c-0000000042\"}", iov_len=30}], 2) = 54"#;

    fn check(lines: &[&str], premature: usize) {
        let findings = read(&lines.join("\n"), "/d/");
        assert_eq!((findings.answered, findings.premature.len()), (1, premature), "{lines:#?}");
    }

    #[test]
    fn an_answer_after_the_sync_of_its_write_is_fine() {
        check(&[WRITE, SYNC, ANSWER], 0);
        let findings = read(&[WRITE, WRITE, SYNC, ANSWER].join("\n"), "/d/");
        assert_eq!(findings.synced, [1_800]);
    }

    #[test]
    fn an_answer_without_it_is_not() {
        check(&[ANSWER], 1);
        check(&[WRITE, ANSWER, SYNC], 1);
        check(&[SYNC, WRITE, ANSWER], 1);
        check(&[&WRITE.replace("42", "43"), SYNC, ANSWER], 1);
    }

    #[test]
    fn another_file_or_a_failure_does_not_count() {
        check(&[WRITE, &SYNC.replace("0.jnl", "1.jnl"), ANSWER], 1);
        check(&[&WRITE.replace("/d/", "/e/"), &SYNC.replace("/d/", "/e/"), ANSWER], 1);
        check(&[WRITE, &SYNC.replace("= 0", "= -1 EIO (Input/output error)"), ANSWER], 1);
        check(&[&WRITE.replace("= 900", "= -1 ENOSPC (No space)"), SYNC, ANSWER], 1);
    }

    #[test]
    fn calls_that_overlap_are_taken_apart() {
        let sync = ["11 fdatasync(7</d/0.jnl> <unfinished ...>", "11 <... fdatasync resumed>) = 0"];
        check(&[WRITE, sync[0], sync[1], ANSWER], 0);
        check(&[WRITE, sync[0], ANSWER, sync[1]], 1);
        let write = WRITE.replace(") = 900", " <unfinished ...>").replace("11 ", "13 ");
        let written = "13 <... write resumed>) = 900";
        check(&[&write, written, sync[0], sync[1], ANSWER], 0);
        // Written while the sync was under way: it may have missed it.
        check(&[&write, sync[0], written, sync[1], ANSWER], 1);
    }
}
