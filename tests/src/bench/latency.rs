//! How long one caller waits, beside the write that it waits for: one caller over HTTP, and a bare
//! durable write of as many bytes as the commit of one reservation, in turns.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::figures::Figure;
use super::request::{Skus, Template};
use super::run::{Run, progress};
use super::statistics::median;
use super::watch::fill;

/// How often each does its thing before it is the other's turn.
const TURN: usize = 50;

/// The file is written once before, so that no write has to find room for itself.
const FILE_BYTES: usize = 64 * 1024 * 1024;

/// Measures.
///
/// # Panics
/// Something fails.
pub async fn measure(run: &mut Run) {
    let bytes = run.commit_bytes.expect("the durability of answers is measured first");
    progress("one caller, and bare durable writes");
    let service = run.start(&run.service_options("latency", "")).await;
    fill(&service, 0).await;
    let mut caller = Caller::connect(&service);
    let mut writer = Writer::new(&run.dir().join("bare-writes"), bytes);
    let (mut calls, mut writes) = (Vec::new(), Vec::new());
    let template = &mut Template::reservation(service.address(), Skus::Hot);
    let end = Instant::now() + 2 * run.extent.phase;
    while Instant::now() < end {
        for _ in 0..TURN {
            let number = run.numbers.fetch_add(1, Ordering::Relaxed);
            calls.push(timed(|| caller.ask(template.numbered(number))));
        }
        for _ in 0..TURN {
            writes.push(timed(|| writer.write()));
        }
    }
    let (call, write) = (median(&calls), median(&writes));
    let note = format!("{} calls, median", calls.len());
    run.add(Figure::new("latency_c1_us", call, "us").note(note));
    let note = format!("pwrite and fdatasync of {bytes} bytes in a file written before, median");
    run.add(Figure::new("bare_write_us", write, "us").note(note));
    run.add(Figure::new("latency_c1_vs_write", call / write, "x").at_most(2.5));
}

/// How long it takes, in microseconds.
fn timed(mut what: impl FnMut()) -> f64 {
    let began = Instant::now();
    what();
    began.elapsed().as_secs_f64() * 1e6
}

/// A caller without a runtime: nothing between it and the answer but a socket.
struct Caller {
    stream: TcpStream,
    buffer: [u8; 4_096],
}

impl Caller {
    fn connect(service: &crate::Service) -> Self {
        let stream = TcpStream::connect(service.address()).expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket option");
        Self { stream, buffer: [0; 4_096] }
    }

    /// Answers to one caller at a time come in one piece: the service sends them with one call.
    fn ask(&mut self, request: &[u8]) {
        self.stream.write_all(request).expect("the service takes a request");
        let len = self.stream.read(&mut self.buffer).expect("an answer");
        assert!(self.buffer[..len].starts_with(b"HTTP/1.1 201"), "{:?}", &self.buffer[..len]);
    }
}

struct Writer {
    file: File,
    record: Vec<u8>,
    at: u64,
}

impl Writer {
    fn new(path: &Path, bytes: usize) -> Self {
        let options = OpenOptions::new().write(true).create_new(true).open(path);
        let file = options.expect("a file for bare writes");
        file.write_all_at(&vec![0; FILE_BYTES], 0).expect("write the file");
        file.sync_all().expect("sync the file");
        Self { file, record: vec![0xa5; bytes], at: 0 }
    }

    fn write(&mut self) {
        if self.at + self.record.len() as u64 > FILE_BYTES as u64 {
            self.at = 0;
        }
        self.file.write_all_at(&self.record, self.at).expect("a write");
        self.file.sync_data().expect("an fdatasync");
        self.at += self.record.len() as u64;
    }
}
