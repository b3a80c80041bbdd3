//! A running service, as the commands see it that are its clients.

use std::str::FromStr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::request::Builder;
use axum::http::uri::{Scheme, Uri};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time;

/// Whoever is not there by then is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Longer than a service takes to commit a change, also while it takes over a bucket.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// No answer that is read here comes near it.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// A token, as it is sent: nobody sees it in a log.
#[derive(Clone, Debug)]
pub struct Token(HeaderValue);

/// It cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a token is ASCII without spaces at its ends: this is no text that can be sent in a header"
)]
pub struct TokenError;

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(raw: &str) -> Result<Self, TokenError> {
        let mut bearer = HeaderValue::try_from(format!("Bearer {raw}")).map_err(|_| TokenError)?;
        bearer.set_sensitive(true);
        Ok(Self(bearer))
    }
}

/// Which service, and who asks.
#[derive(Clone, Debug, clap::Args)]
pub struct ServiceArguments {
    /// The running service, http://host:port.
    #[arg(long, value_name = "URL")]
    service: ServiceUrl,
    /// What to say who asks: sent as `Authorization: Bearer TOKEN`.
    #[arg(long, env = "CARTGATE_TOKEN", hide_env_values = true)]
    token: Option<Token>,
}

impl ServiceArguments {
    /// As it was said elsewhere.
    pub(crate) fn new(service: ServiceUrl, token: Option<Token>) -> Self {
        Self { service, token }
    }

    /// The head of a request.
    pub(crate) fn head(&self, method: Method, path: &str) -> Builder {
        let head = self.service.head(method, path);
        match &self.token {
            Some(Token(bearer)) => head.header(header::AUTHORIZATION, bearer),
            None => head,
        }
    }

    /// Asks the service, on a connection of its own.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        if_match: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, CallError> {
        let mut head = self.head(method, path);
        if let Some(version) = if_match {
            head = head.header(header::IF_MATCH, version);
        }
        if body.is_some() {
            head = head.header(header::CONTENT_TYPE, "application/json");
        }
        let body = Full::<Bytes>::from(body.map(Value::to_string).unwrap_or_default());
        let answer = async { read(self.send(head, body).await?).await };
        let late = |late: time::error::Elapsed| CallError::NoAnswer(late.to_string());
        time::timeout(ANSWER_WITHIN, answer).await.map_err(late)?
    }

    /// As [`ServiceUrl::send`].
    pub(crate) async fn send<B>(
        &self,
        head: Builder,
        body: B,
    ) -> Result<Response<Incoming>, CallError>
    where
        B: Body<Data: Send, Error: Into<AnyError>> + Send + 'static,
    {
        self.service.send(head, body).await
    }
}

/// Where a service is: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrl {
    host: String,
    port: u16,
    authority: String,
    prefix: String,
}

impl FromStr for ServiceUrl {
    type Err = ServiceUrlError;

    fn from_str(raw: &str) -> Result<Self, ServiceUrlError> {
        let wrong = || ServiceUrlError::Wrong { raw: raw.to_owned() };
        let url: Uri = raw.parse().map_err(|_| wrong())?;
        if url.scheme() == Some(&Scheme::HTTPS) {
            return Err(ServiceUrlError::Tls);
        }
        let authority = url.authority().ok_or_else(wrong)?;
        let has_more = url.query().is_some() || authority.as_str().contains('@');
        if url.scheme() != Some(&Scheme::HTTP) || has_more || authority.host().is_empty() {
            return Err(wrong());
        }
        // An IPv6 address is in brackets only as long as it is in a URL.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(80),
            authority: authority.to_string(),
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// Why a service cannot be where a text says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ServiceUrlError {
    /// It is no URL of a service.
    #[error(
        "{raw:?} is no URL of a service: give http://host:port, without user, password and query"
    )]
    Wrong {
        /// The text.
        raw: String,
    },
    /// It is to be asked by TLS.
    #[error("TLS is not spoken here: give http://host:port, within the shop's own network")]
    Tls,
}

/// What a service answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) etag: Option<String>,
    /// Its JSON; `null` if there is none.
    pub(crate) body: Value,
}

impl Answer {
    /// What a problem says, for people.
    pub(crate) fn said(&self) -> String {
        format!("{} {}", self.status.as_u16(), problem_text(&self.body))
    }
}

/// A problem's title, and what is particular about it.
pub(crate) fn problem_text(problem: &Value) -> String {
    let said = ["title", "detail"].map(|member| problem[member].as_str());
    said.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// Nobody answers there.
    #[error("nobody is there ({0})")]
    NotThere(String),
    /// Somebody does, and the answer was lost.
    #[error("no answer ({0}): whether it was done is not known")]
    NoAnswer(String),
}

impl ServiceUrl {
    /// The head of a request.
    fn head(&self, method: Method, path: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.prefix))
            .header(header::HOST, &self.authority)
            .header(header::CONNECTION, "close")
    }

    /// Sends a request on a connection of its own, and waits for the head of what is answered, which may
    /// come before all of the body has been sent.
    async fn send<B>(&self, head: Builder, body: B) -> Result<Response<Incoming>, CallError>
    where
        B: Body<Data: Send, Error: Into<AnyError>> + Send + 'static,
    {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = match time::timeout(CONNECT_WITHIN, connect).await {
            Ok(stream) => stream.map_err(|error| CallError::NotThere(error.to_string()))?,
            Err(late) => return Err(CallError::NotThere(late.to_string())),
        };
        let request = head.body(body).map_err(|error| CallError::NotThere(error.to_string()))?;
        let no_answer = |error: hyper::Error| CallError::NoAnswer(error.to_string());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(no_answer)?;
        // It ends with the answer; what went wrong with it the sender says.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(no_answer)
    }
}

/// Any error of a body.
pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Reads all of an answer that is not long.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Answer, CallError> {
    let status = response.status();
    let etag = response.headers().get(header::ETAG);
    let etag = etag.and_then(|etag| etag.to_str().ok()).map(str::to_owned);
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| CallError::NoAnswer(error.to_string()))?.to_bytes();
    Ok(Answer { status, etag, body: serde_json::from_slice(&body).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_service_is() {
        let check = |raw: &str, host: &str, port: u16, prefix: &str| {
            let url: ServiceUrl = raw.parse().unwrap();
            assert_eq!((url.host.as_str(), url.port, url.prefix.as_str()), (host, port, prefix));
        };
        check("http://127.0.0.1:8080", "127.0.0.1", 8_080, "");
        check("http://cartgate/", "cartgate", 80, "");
        check("http://[::1]:8080/shop/", "::1", 8_080, "/shop");
    }

    #[test]
    fn where_none_is() {
        assert_eq!("https://shop".parse::<ServiceUrl>(), Err(ServiceUrlError::Tls));
        for raw in ["", "shop:8080", "/v1", "ftp://shop", "http://a:b@shop", "http://shop/?q=1"] {
            let wrong = ServiceUrlError::Wrong { raw: raw.to_owned() };
            assert_eq!(raw.parse::<ServiceUrl>(), Err(wrong));
        }
    }
}
