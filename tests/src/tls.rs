//! A listener that speaks TLS, for servers that are part of a test.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::redis::Certificate;

/// A listener on a port of this machine, for `axum::serve`.
pub struct TlsListener {
    acceptor: TlsAcceptor,
    tcp: TcpListener,
}

impl TlsListener {
    /// One on a free port, that shows this certificate.
    ///
    /// # Panics
    /// There is no port.
    pub async fn bind(certificate: &Certificate) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(certificate.server()));
        Self { acceptor, tcp: TcpListener::bind("127.0.0.1:0").await.expect("a port") }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.tcp).await;
            // Whoever does not trust us goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
