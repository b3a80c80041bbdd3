//! A document that its owner publishes at a URL: fetched at the start, and again before it is too old.
//!
//! What was fetched last goes on when the owner cannot be reached, for a day: longer than an outage, and
//! not for as long as somebody likes who keeps us from hearing that a key was taken back.

use std::error::Error;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::cause::chain;
use crate::trouble::Trouble;

/// How long a document is fresh if its `cache-control` (RFC 9111) says nothing, and the least and the most
/// that is heeded.
const FRESH_FOR: Duration = Duration::from_secs(5 * 60);
const FRESH_FOR_MIN: Duration = Duration::from_secs(60);
const FRESH_FOR_MAX: Duration = Duration::from_secs(60 * 60);

/// How old one may be that nobody could fetch again.
const GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How soon it is tried again. Nobody who asks makes it sooner.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// How long one fetch may take.
const FETCHED_WITHIN: Duration = Duration::from_secs(5);

/// The most bytes of a document.
const BYTES_MAX: usize = 256 * 1_024;

/// What was fetched last.
pub(super) struct Fetched<T> {
    shared: Arc<Shared<T>>,
    fetching: AbortHandle,
}

struct Shared<T> {
    last: RwLock<Option<(Arc<T>, Instant)>>,
    /// When the last fetch ended, however it did.
    tried: watch::Sender<Instant>,
    wanted: Notify,
}

/// Why there is no new document.
#[derive(Debug, Error)]
enum FetchError {
    #[error("its owner cannot be asked")]
    Ask(#[source] hyper_util::client::legacy::Error),
    #[error("it did not come in {} s", FETCHED_WITHIN.as_secs())]
    Late,
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("it broke off, or is longer than {BYTES_MAX} bytes")]
    Body,
    #[error("{0}")]
    Format(String),
}

impl<T: Send + Sync + 'static> Fetched<T> {
    /// Fetches it, waits until that has been tried, and keeps it fresh from now on. Whether it was there
    /// is in the log: an owner that is away keeps nobody from starting.
    pub(super) async fn start<E: Error + 'static>(
        url: Uri,
        parse: fn(&str) -> Result<T, E>,
    ) -> Self {
        let (tried, mut is_tried) = watch::channel(Instant::now());
        let shared = Shared { last: RwLock::default(), tried, wanted: Notify::new() };
        let shared = Arc::new(shared);
        is_tried.mark_unchanged();
        let fetching = tokio::spawn(keep(Arc::clone(&shared), url, parse)).abort_handle();
        // It goes on for as long as this is there.
        let _ = is_tried.changed().await;
        Self { shared, fetching }
    }

    /// `None`: there is none, or it is too old.
    pub(super) fn now(&self) -> Option<Arc<T>> {
        let last = self.shared.last.read().unwrap_or_else(PoisonError::into_inner);
        let (value, since) = last.as_ref()?;
        (since.elapsed() < GOOD_FOR).then(|| Arc::clone(value))
    }

    /// Whether it has not just been tried.
    pub(super) fn may_be_renewed(&self) -> bool {
        self.shared.tried.borrow().elapsed() >= AGAIN_AFTER
    }

    /// Something is missing in it: fetches it again, and waits for that, if it has not just been tried.
    pub(super) async fn renew(&self) {
        let mut tried = self.shared.tried.subscribe();
        if !self.may_be_renewed() {
            return;
        }
        self.shared.wanted.notify_one();
        let _ = timeout(FETCHED_WITHIN, tried.changed()).await;
    }
}

impl<T> Shared<T> {
    fn store(&self, value: T) {
        let last = Some((Arc::new(value), Instant::now()));
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = last;
    }

    /// What was fetched is what there is.
    fn is_good_still(&self) {
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, since)) = &mut *last {
            *since = Instant::now();
        }
    }
}

impl<T> Drop for Fetched<T> {
    fn drop(&mut self) {
        self.fetching.abort();
    }
}

async fn keep<T, E: Error + 'static>(
    shared: Arc<Shared<T>>,
    url: Uri,
    parse: fn(&str) -> Result<T, E>,
) -> ! {
    let client = client();
    let mut trouble =
        Trouble::new("an issuer's keys cannot be fetched: what there is of them goes on");
    let mut last_text = None;
    loop {
        let fetched = timeout(FETCHED_WITHIN, fetch(&client, &url)).await;
        let fetched = fetched.unwrap_or(Err(FetchError::Late));
        let stored = fetched.and_then(|(text, fresh_for)| {
            if last_text.as_ref() == Some(&text) {
                shared.is_good_still();
            } else {
                let parsed = parse(&text).map_err(|error| FetchError::Format(chain(&error)));
                shared.store(parsed?);
                last_text = Some(text);
            }
            Ok(fresh_for)
        });
        let again_after = trouble.tell(stored).unwrap_or(AGAIN_AFTER);
        shared.tried.send_replace(Instant::now());
        sleep(AGAIN_AFTER).await;
        tokio::select! {
            () = sleep(again_after.saturating_sub(AGAIN_AFTER)) => {}
            () = shared.wanted.notified() => {}
        }
    }
}

type Fetcher = Client<HttpsConnector<HttpConnector>, Empty<Bytes>>;

/// It trusts whom the system trusts (`SSL_CERT_FILE` names others), and follows nobody elsewhere.
fn client() -> Fetcher {
    // Whoever was first has the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let connector = HttpsConnectorBuilder::new();
    let connector = match connector.with_native_roots() {
        Ok(connector) => connector,
        Err(error) => {
            tracing::error!(%error, "the system has no certificates: https cannot be spoken");
            let nobody = rustls::RootCertStore::empty();
            let trust = rustls::ClientConfig::builder().with_root_certificates(nobody);
            HttpsConnectorBuilder::new().with_tls_config(trust.with_no_client_auth())
        }
    };
    let connector = connector.https_or_http().enable_http1().build();
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector)
}

/// The document, and for how long it is fresh.
async fn fetch(client: &Fetcher, url: &Uri) -> Result<(String, Duration), FetchError> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = url.clone();
    let response = client.request(request).await.map_err(FetchError::Ask)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let fresh_for = fresh_for(response.headers());
    let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
    let body = body.map_err(|_| FetchError::Body)?.to_bytes();
    let text = String::from_utf8(body.into()).map_err(|e| FetchError::Format(e.to_string()))?;
    Ok((text, fresh_for))
}

/// As `max-age` says, less the `age` that it has in some cache already, within bounds.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse().ok());
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let mut directives = lines.flat_map(|line| line.split(',')).map(str::trim);
    let max_age = directives.find_map(|directive| {
        let (name, seconds) = directive.split_once('=')?;
        let seconds = seconds.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    });
    let left = max_age.unwrap_or(FRESH_FOR).saturating_sub(Duration::from_secs(age.unwrap_or(0)));
    left.clamp(FRESH_FOR_MIN, FRESH_FOR_MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::Router;
    use axum::extract::State;
    use axum::http::HeaderValue;
    use axum::routing::get;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn a_document_is_fresh_for_as_long_as_its_owner_says() {
        let check = |said: &'static str, expected_s| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(said));
            assert_eq!(fresh_for(&headers).as_secs(), expected_s, "{said}");
        };
        check("public, max-age=600", 600);
        check("Max-Age=\"700\", must-revalidate", 700);
        check("max-age=1", 60);
        check("max-age=100000", 3_600);
        check("no-cache", 300);
        check("max-age=soon", 300);
        assert_eq!(fresh_for(&HeaderMap::new()), FRESH_FOR);
        let cached = [(header::CACHE_CONTROL, "max-age=600"), (header::AGE, "250")];
        let cached = cached.map(|(name, value)| (name, HeaderValue::from_static(value)));
        assert_eq!(fresh_for(&HeaderMap::from_iter(cached)).as_secs(), 350);
    }

    #[derive(Clone, Default)]
    struct Owner {
        says: Arc<Mutex<(u16, String)>>,
        asked: Arc<Mutex<u32>>,
    }

    impl Owner {
        fn says(&self, status: u16, text: &str) {
            *self.says.lock().unwrap() = (status, text.to_owned());
        }

        fn asked(&self) -> u32 {
            *self.asked.lock().unwrap()
        }
    }

    async fn start() -> (Owner, Fetched<u32>) {
        let owner = Owner::default();
        owner.says(200, "1");
        let answer = async |State(owner): State<Owner>| {
            *owner.asked.lock().unwrap() += 1;
            let (status, text) = owner.says.lock().unwrap().clone();
            (StatusCode::from_u16(status).unwrap(), text)
        };
        let router = Router::new().route("/", get(answer)).with_state(owner.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(crate::http::server::serve(
            listener,
            router,
            16,
            std::future::pending(),
            Duration::ZERO,
        ));
        let fetched = Fetched::start(url.parse().unwrap(), |text| text.parse::<u32>()).await;
        (owner, fetched)
    }

    #[tokio::test]
    async fn what_is_missing_is_fetched_again_but_not_all_the_time() {
        let (owner, fetched) = start().await;
        assert_eq!(fetched.now().as_deref(), Some(&1));
        owner.says(200, "2");
        // Just tried: whoever asks with keys that there are not costs nobody anything.
        for _ in 0..100 {
            fetched.renew().await;
        }
        assert_eq!((owner.asked(), fetched.now().as_deref()), (1, Some(&1)));
        tokio::time::pause();
        tokio::time::advance(AGAIN_AFTER * 2).await;
        tokio::time::resume();
        fetched.renew().await;
        assert_eq!((owner.asked(), fetched.now().as_deref()), (2, Some(&2)));
        let before = fetched.now().unwrap();
        tokio::time::pause();
        tokio::time::advance(AGAIN_AFTER * 2).await;
        tokio::time::resume();
        fetched.renew().await;
        assert!(Arc::ptr_eq(&before, &fetched.now().unwrap()), "the same is not another");
    }

    #[tokio::test]
    async fn what_was_fetched_goes_on_for_a_day_without_its_owner() {
        let (owner, fetched) = start().await;
        for (status, text) in [(500, "3"), (200, "none")] {
            owner.says(status, text);
            tokio::time::pause();
            tokio::time::advance(AGAIN_AFTER * 2).await;
            tokio::time::resume();
            fetched.renew().await;
            assert_eq!(fetched.now().as_deref(), Some(&1), "{text}");
        }
        assert_eq!(owner.asked(), 3);
        tokio::time::pause();
        tokio::time::advance(GOOD_FOR).await;
        assert_eq!(fetched.now(), None);
    }
}
