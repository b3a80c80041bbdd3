//! The service keeps to its OpenAPI document, and whoever reads its page can call it.
//!
//! Schemathesis makes requests of the document, good and bad ones, and looks at each answer: no status, media type,
//! header or body that the document does not have, no bad request that is let through, no route that opens
//! without its token, and no 5xx but a 503 that says when to try again.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use cartgate_tests::client::http;
use cartgate_tests::{Service, ServiceOptions, tokens};
use serde_json::{Value, json};

/// What conforms whoever asks.
const CONFORMANCE: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance";

/// A service that asks for tokens, with stock and a hot item, and a token of each scope.
struct Rig {
    dir: tempfile::TempDir,
    service: Service,
}

impl Rig {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tokens = dir.path().join("tokens.toml");
        let admin = tokens::create(&tokens, "admin", "admin");
        let options = ServiceOptions::new(dir.path()).settings(&tokens::setting(&tokens)).quiet();
        let rig = Self { dir, service: Service::start(&options).await.unwrap() };
        for sku in ["EXAMPLE-TEE-M", "LIMITED-SNEAKER", "0"] {
            rig.put(&admin, &format!("/v1/skus/{sku}/stock"), json!({"quantity": 100_000})).await;
        }
        rig.put(&admin, "/v1/hot-items/LIMITED-SNEAKER", json!({"reserves_per_s": 500})).await;
        rig
    }

    async fn put(&self, token: &str, path: &str, body: Value) {
        let request = http().put(self.service.url(path)).bearer_auth(token).json(&body);
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    }

    fn token(&self, scope: &str) -> String {
        tokens::create(&self.dir.path().join("tokens.toml"), scope, scope)
    }

    /// Holds the service to its document for some seconds.
    fn check(&self, token: Option<&str>, seconds: u32, arguments: &[&str]) {
        let dir = root().join("tests/contract");
        let mut config = std::fs::read_to_string(dir.join("schemathesis.toml")).unwrap();
        let hooks = format!("hooks = {:?}", dir.join("hooks.py").display().to_string());
        config = config.replace("hooks = \"hooks.py\"", &hooks);
        if let Some(token) = token {
            config.push_str(&format!("\n[auth.openapi.token]\nbearer = {token:?}\n"));
        }
        let file = self.dir.path().join("schemathesis.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(root().join(".tools/venv-contract/bin/schemathesis"));
        command.current_dir(&self.dir).arg("--no-color").arg("--config-file").arg(file);
        command.arg("run").arg(root().join("docs/openapi.json"));
        let seed = std::env::var("CARTGATE_SEED").unwrap_or_else(|_| "1".to_owned());
        command.arg("--url").arg(self.service.url("")).args(["--seed", &seed, "--warnings", "off"]);
        command.arg("--max-time").arg(seconds.to_string()).args(arguments);
        let output = command.output().expect("run schemathesis: `make test-contract` fetches it");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        eprintln!("{}", text.lines().rev().take(6).collect::<Vec<_>>().join(" | "));
    }
}

/// What stands between these on a page, of people's HTML.
fn between<'a>(page: &'a str, from: &'a str, to: &'a str) -> impl Iterator<Item = String> + 'a {
    let parts = page.split(from).skip(1).filter_map(move |rest| Some(rest.split_once(to)?.0));
    parts.map(|html| {
        let text = html.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
        text.replace("&amp;", "&")
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-contract"]
async fn who_may_do_everything_gets_what_the_document_says() {
    let rig = Rig::start().await;
    let token = rig.token("admin");
    rig.check(Some(&token), 90, &["--phases", "examples,coverage,fuzzing,stateful"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-contract"]
async fn who_may_do_some_things_gets_what_the_document_says() {
    let rig = Rig::start().await;
    for scope in ["reserve", "stock", "hot-items", "edge", "read"] {
        let phases = ["--phases", "examples,fuzzing", "--checks", CONFORMANCE];
        rig.check(Some(&rig.token(scope)), 12, &phases);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-contract"]
async fn who_has_no_token_gets_what_the_document_says() {
    let rig = Rig::start().await;
    rig.check(None, 20, &["--phases", "examples,coverage,fuzzing", "--checks", CONFORMANCE]);
}

/// Each example is pasted into a shell, as the page says, and works.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-contract"]
async fn who_reads_the_page_can_call_every_route() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(&ServiceOptions::new(dir.path())).await.unwrap();
    let page = http().get(service.url("/docs")).send().await.unwrap().text().await.unwrap();
    let prepare = between(&page, "<pre class=\"prepare\">", "</pre>").next().unwrap();
    let prepare = prepare.replace("http://127.0.0.1:8080", &service.url(""));
    let calls: Vec<_> = between(&page, "<pre class=\"call\">", "</pre>").collect();
    let routes =
        page.matches("<section id=").count() - page.matches("<section id=\"schema-").count();
    assert!(routes >= 27 && calls.len() >= routes, "{} of {routes}", calls.len());
    for call in calls {
        let script = format!("{prepare}\n{call} -sS -o /dev/null -w '\\n%{{http_code}}\\n'");
        let output = Command::new("sh").args(["-euc", &script]).current_dir(&dir).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let status = said.lines().last().unwrap_or_default();
        assert!(status.starts_with('2'), "{status}: {call}\n{output:?}");
    }
}
