//! TLS. Whom to trust comes from the environment, so the client is a process of its own.

use std::process::Command;

use super::*;

const URL: &str = "CARTGATE_TEST_URL";

/// A server's certificate, made out to localhost; by itself, as an authority.
fn certificate(directory: &TempDir) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let write = |name: &str, content: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    [write("cert.pem", made.cert.pem()), write("key.pem", made.signing_key.serialize_pem())]
}

#[test]
fn a_server_is_spoken_to_over_tls_if_it_is_trusted() {
    let directory = TempDir::new().unwrap();
    let [certificate, key] = certificate(&directory);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tls = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"];
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
    let _server = Server::start_with(directory.path(), &[tls, files].concat());
    let stranger = TempDir::new().unwrap();
    let [other, _] = self::certificate(&stranger);
    for (trusted, is_fine) in [(&certificate, true), (&other, false)] {
        let client = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::redis::tests::tls::client", "--ignored"])
            .env("SSL_CERT_FILE", trusted)
            .env(URL, format!("rediss://localhost:{port}"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&client.stdout);
        assert_eq!(client.status.success(), is_fine, "{said}");
        assert!(said.contains("running 1 test"), "{said}");
        assert!(is_fine || said.contains("invalid peer certificate"), "{said}");
    }
}

#[tokio::test]
#[ignore = "it is the client of the test above"]
async fn client() {
    let url = std::env::var(URL).unwrap();
    let store = RedisStore::open(url.parse().unwrap(), settings()).unwrap();
    let tenure = store.acquire(0, WorkerId(1)).unwrap().unwrap();
    tenure.commit_turn(&sale(0, 1)).unwrap();
    let row = store.api().stock(0, &sku("A")).await.unwrap();
    assert_eq!(row.map(|row| row.version), Some(1));
}
