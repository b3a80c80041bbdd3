//! Ports to listen on.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that outgoing connections take their ports from (Linux: 32768 and up), so that
/// a port found free here is not some client's a moment later.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// How many ports this process has tried.
static TRIED: AtomicU16 = AtomicU16::new(0);

/// An address on loopback that nobody listens on, and that this process gives out once.
///
/// Processes start looking at different places, so that they seldom meet. Asking the kernel for a
/// free port would not do: Envoy listens with `SO_REUSEPORT`, and two Envoys that were told the
/// same port would share it without a word.
pub fn free_address() -> SocketAddr {
    // Knuth's multiplicative hash: neighbouring process ids start far apart.
    let start = (process::id().wrapping_mul(2_654_435_761) >> 16) as u16;
    loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(tried) % COUNT;
        let address = loopback(port);
        if is_free(address) {
            return address;
        }
    }
}

/// Whether nobody listens on `address`.
pub fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

/// `127.0.0.1:port`.
pub fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
