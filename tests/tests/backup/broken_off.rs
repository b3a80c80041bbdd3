//! Backups that break off: there is no file, the service and its store are as they were, and the next
//! backup can be made.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cartgate_tests::client::http;
use cartgate_tests::process::eventually;
use cartgate_tests::tokens;
use cartgate_tests::{Answer, Service, ServiceOptions, Shop, StoreKind};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::{SKU, backup, command, done, names, place, refused, restore};

/// So many, and so long, that a backup of them fits into no socket: Linux lets one grow to 4 MiB, and it has
/// more than twice as many.
const SKUS: usize = 60_000;
const SKU_LEN: usize = 64;

/// Passes on so many bytes of an answer, and then nothing.
const PASSED: usize = 300_000;

/// Between a client and a service that do not hear of each other any more after [`PASSED`] bytes, until
/// this is dropped.
struct Stalling {
    address: SocketAddr,
    is_stalled: watch::Receiver<bool>,
    task: AbortHandle,
}

impl Stalling {
    async fn before(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stalled, is_stalled) = watch::channel(false);
        let pass = async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            // What lies in between is little.
            socket.set_recv_buffer_size(16_384).unwrap();
            let mut server = socket.connect(service).await.unwrap();
            let mut bytes = vec![0; PASSED];
            let len = client.read(&mut bytes).await.unwrap();
            server.write_all(&bytes[..len]).await.unwrap();
            server.read_exact(&mut bytes).await.unwrap();
            client.write_all(&bytes).await.unwrap();
            stalled.send_replace(true);
            // Whoever gives up is followed.
            let _ = client.read(&mut bytes).await;
        };
        Self { address, is_stalled, task: tokio::spawn(pass).abort_handle() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn until_stalled(&mut self) {
        self.is_stalled.wait_for(|stalled| *stalled).await.unwrap();
    }
}

impl Drop for Stalling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A service with enough in its store.
async fn service() -> (TempDir, ServiceOptions, Service, PathBuf) {
    let (dir, file) = place("backups/store.backup");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    let options = ServiceOptions::new(dir.path()).quiet();
    let service = Service::start(&options).await.unwrap();
    let lines: String = (0..SKUS).map(|number| format!("{number:P>SKU_LEN$},7\n")).collect();
    let request = http().post(service.url("/v1/stock-imports")).header("content-type", "text/csv");
    let request = request.body(format!("sku,quantity\n{lines}"));
    let told = request.send().await.unwrap().text().await.unwrap();
    assert!(told.contains(&format!("\"set\":{SKUS}")), "{told}");
    (dir, options, service, file)
}

/// A backup that has begun and does not go on.
async fn stalled(service: &Service, file: &Path) -> (Child, Stalling) {
    let mut between = Stalling::before(service.address()).await;
    let mut command = command(&["backup", "--service", &between.url(), file.to_str().unwrap()]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let client = command.spawn().unwrap();
    between.until_stalled().await;
    (client, between)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_leaves_no_file_and_keeps_its_store() {
    let (dir, options, mut service, file) = service().await;
    let (client, between) = stalled(&service, &file).await;
    let second = file.with_extension("second");
    refused(&backup(&service.url(""), &second).await, 2, "409 Another backup is under way");
    let answer = Answer::to(http().get(service.url("/v1/backup"))).await.unwrap();
    assert_eq!((answer.status, answer.problem()), (409, "backup-under-way"));

    // Nobody has to wait to ask whether there would be one.
    let asked = http().head(service.url("/v1/backup")).send().await.unwrap();
    assert!(asked.status() == 200 && asked.headers().get("content-length").is_none(), "{asked:?}");

    service.process.kill().await.unwrap();
    drop(between);
    let output = client.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("the backup broke off after ") && error.contains("run it again"),
        "{error}"
    );
    assert_eq!(names(file.parent().unwrap()), [""; 0], "something is left");

    let service = Service::start(&options).await.unwrap();
    let said = done(backup(&service.url(""), &file).await);
    assert!(said.starts_with("60,000 SKUs"), "{said}");
    assert_eq!(names(file.parent().unwrap()), ["store.backup"]);
    done(restore(&file, &dir.path().join("other")).await);
}

/// Whoever does not take a backup in holds up no stop.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_ends_a_backup_at_once() {
    let (_dir, _options, mut service, file) = service().await;
    let (client, between) = stalled(&service, &file).await;
    assert!(service.process.stop().await.unwrap().success());
    let log = service.log();
    assert!(log.contains("a backup breaks off") && log.contains("the service stops"), "{log}");
    assert!(!log.contains("did not take their answers in time"), "{log}");
    drop(between);
    let output = client.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(names(file.parent().unwrap()), [""; 0], "something is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_killed_leaves_no_file_of_that_name_and_its_place() {
    let (_dir, _options, service, file) = service().await;
    let (mut client, _between) = stalled(&service, &file).await;
    let begun = || async { (!names(file.parent().unwrap()).is_empty()).then_some(()) };
    eventually("something to be written", begun).await;
    client.kill().await.unwrap();
    assert_eq!(names(file.parent().unwrap()), ["store.backup.part"]);
    let made = || async {
        let run = backup(&service.url(""), &file).await;
        (run.status == 0).then_some(run)
    };
    eventually("a place for another backup", made).await;
    assert_eq!(names(file.parent().unwrap()), ["store.backup"]);
    let log = service.log();
    assert!(log.contains("a backup breaks off"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_administrator_gets_one() {
    let (dir, file) = place("store.backup");
    let known = dir.path().join("tokens.toml");
    let [stock, read, admin] =
        ["stock", "read", "admin"].map(|scope| tokens::create(&known, scope, scope));
    let options = ServiceOptions::new(dir.path()).settings(&tokens::setting(&known));
    let service = Service::start(&options).await.unwrap();
    let url = service.url("");
    let ask = async |token: Option<&str>| {
        let mut command = command(&["backup", "--service", &url, file.to_str().unwrap()]);
        if let Some(token) = token {
            command.env("CARTGATE_TOKEN", token);
        }
        let output = command.output().await.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), error)
    };
    for (token, status) in [(None, "401"), (Some(&*stock), "403"), (Some(&*read), "403")] {
        let (ended, error) = ask(token).await;
        assert!(ended == 2 && error.contains(status), "{error}");
        assert!(!file.exists());
    }
    assert_eq!(ask(Some(&admin)).await, (0, String::new()));
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it has the store's secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_backed_up_by_its_own_means() {
    let (dir, file) = place("store.backup");
    let options = ServiceOptions::new(dir.path()).own_store(StoreKind::Redis);
    let service = Service::start(&options).await.unwrap();
    Shop::at(service.address()).set_stock(SKU, 1).await.unwrap();
    let answer = Answer::to(http().get(service.url("/v1/backup"))).await.unwrap();
    assert_eq!((answer.status, answer.problem()), (501, "backup-elsewhere"));
    refused(&backup(&service.url(""), &file).await, 2, "BGSAVE");
    assert!(!file.exists());
}
