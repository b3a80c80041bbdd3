//! A legacy shop's frontend, to try cartgate with a browser: see `tests/legacy-frontend.md`.

use std::error::Error;
use std::net::SocketAddr;

use cartgate_tests::legacy::Frontend;
use clap::Parser;
use reqwest::Url;
use tokio::net::TcpListener;

/// Pages with plain forms in front of cartgate, as a legacy shop has them.
#[derive(Debug, Parser)]
struct Options {
    /// Where browsers find the pages.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Where cartgate's edge is: Envoy.
    #[arg(long, default_value = "http://127.0.0.1:10000")]
    edge: Url,
    /// The product that is for sale.
    #[arg(long, default_value = "LIMITED-SNEAKER")]
    sku: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let frontend = Frontend::new(options.edge, options.sku)?;
    let listener = TcpListener::bind(options.listen).await?;
    println!("the shop is open at http://{}/", listener.local_addr()?);
    frontend.serve(listener).await?;
    Ok(())
}
