//! The closed loop: so many callers, each asking again as soon as it is answered.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::answer::{Answer, Answers};
use super::request::Template;
use super::tally::{Numbers, Tally};

/// Of connections that nobody has taken yet a listener may keep only 128 (the standard library's
/// are such): whoever comes then is kept waiting for a second.
const WAITING_MAX: usize = 100;

/// A caller on a connection of its own, which stays open.
#[derive(Debug)]
pub struct Caller {
    stream: TcpStream,
    answers: Answers,
}

impl Caller {
    /// Connects.
    ///
    /// # Errors
    /// Nobody takes the connection.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answers: Answers::new() })
    }

    /// So many of them, all taken by the server.
    ///
    /// # Panics
    /// A connection is not taken.
    pub async fn connect_all(address: SocketAddr, count: usize) -> Vec<Self> {
        let anything = Template::empty_route(address).numbered(0).to_vec();
        let mut callers = Vec::with_capacity(count);
        while callers.len() < count {
            let mut caller = Self::connect(address).await.expect("a connection");
            if callers.len() % WAITING_MAX == 0 || callers.len() + 1 == count {
                // Once this one is answered, whatever it is, all before it have been taken.
                caller.ask(&anything).await.expect("an answer");
            }
            callers.push(caller);
        }
        callers
    }

    /// So many of them, each of which has asked once, whatever it was answered.
    ///
    /// # Panics
    /// A connection breaks.
    pub async fn connect_asking(
        address: SocketAddr,
        template: &Template,
        count: usize,
    ) -> Vec<Self> {
        let (mut template, mut callers) = (template.clone(), Vec::with_capacity(count));
        for number in 0..count {
            let mut caller = Self::connect(address).await.expect("a connection");
            caller.ask(template.numbered(number as u64)).await.expect("an answer");
            callers.push(caller);
        }
        callers
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request).await?;
        self.answers.next(&mut self.stream).await
    }

    /// Asks, without waiting.
    ///
    /// # Errors
    /// The connection breaks.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await
    }

    async fn ask_until(
        mut self,
        end: Instant,
        mut template: Template,
        numbers: Numbers,
        tally: Arc<Mutex<Tally>>,
    ) {
        let mut now = Instant::now();
        while now < end {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let answer = self.ask(template.numbered(number)).await;
            let answered = Instant::now();
            let mut tally = tally.lock().expect("no caller panics here");
            let Ok(answer) = answer else {
                tally.broken += 1;
                return;
            };
            tally.note_told(number, answer);
            if answered <= end {
                tally.note(answer, answered - now);
            }
            now = answered;
        }
    }
}

/// Lets each caller ask again and again for as long as it `lasts`. A connection that breaks is its
/// caller's end.
///
/// # Panics
/// A caller does.
pub async fn run(
    callers: Vec<Caller>,
    template: &Template,
    numbers: &Numbers,
    lasts: Duration,
) -> Tally {
    let end = Instant::now() + lasts;
    let tally = Arc::new(Mutex::new(Tally::new(lasts)));
    let mut asking = JoinSet::new();
    for caller in callers {
        asking.spawn(caller.ask_until(end, template.clone(), numbers.clone(), tally.clone()));
    }
    asking.join_all().await;
    let tally = Arc::into_inner(tally).expect("all callers have gone");
    tally.into_inner().expect("no caller has panicked")
}
