//! A headless Chromium, driven as a person drives it: with keys, and by looking.
//!
//! Chromium takes `DevTools` commands from file descriptor 3 and answers on 4, each message JSON
//! that ends with a zero byte (`--remote-debugging-pipe`). A shell connects the two to named pipes,
//! which needs no `unsafe` between fork and exec, and no `WebSocket` client.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe::{OpenOptions, Receiver, Sender};
use tokio::process::Command;
use tokio::time;

use crate::client::ANSWER_WITHIN;
use crate::process::Process;

/// What Chromium is called, in order of preference.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Nothing but the page: no first visit, no updates, no calls home.
const FLAGS: [&str; 12] = [
    "--headless",
    "--remote-debugging-pipe",
    // Containers and root have no sandbox to offer; only pages of our own are visited.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A browser with one tab, in which scripts are switched off. Stopped when dropped.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    commands: Sender,
    messages: BufReader<Receiver>,
    tab: Option<String>,
    commands_sent: u64,
    // Last, so that the directory outlives those who write into it.
    _dir: TempDir,
}

impl Browser {
    /// Starts Chromium (`$CHROMIUM`, else from `$PATH`) with a profile of its own, in a window of
    /// so many pixels, for somebody who reads `language`.
    ///
    /// # Panics
    /// There is no Chromium, or it does not answer.
    pub async fn start((width, height): (u32, u32), language: &str) -> Self {
        let mut browser = Self::spawn();
        let page = json!({ "url": "about:blank" });
        let page = browser.command("Target.createTarget", page).await;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.command("Target.attachToTarget", attach).await;
        browser.tab = session["sessionId"].as_str().map(str::to_owned);
        let window = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        for (method, parameters) in [
            ("Page.enable", json!({})),
            ("Network.enable", json!({})),
            ("Network.setExtraHTTPHeaders", json!({ "headers": { "accept-language": language } })),
            ("Emulation.setDeviceMetricsOverride", window),
            ("Emulation.setScriptExecutionDisabled", json!({ "value": true })),
            ("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })),
        ] {
            browser.command(method, parameters).await;
        }
        browser
    }

    fn spawn() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [commands, messages] =
            ["commands", "messages"].map(|name| named_pipe(dir.path(), name));
        // Open for both, or it would take the other end to open ours.
        let mut both = OpenOptions::new();
        let both = both.read_write(true);
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(r#"commands=$1 messages=$2; shift 2; exec "$@" 3<"$commands" 4>"$messages""#);
        command.arg("sh").arg(&commands).arg(&messages).arg(chromium()).args(FLAGS);
        command.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
        let commands = both.open_sender(&commands).expect("a pipe to Chromium");
        let messages = both.open_receiver(&messages).expect("a pipe from Chromium");
        let process = Process::spawn("Chromium", command, &dir.path().join("log"), None).unwrap();
        let messages = BufReader::new(messages);
        Self { process, commands, messages, tab: None, commands_sent: 0, _dir: dir }
    }

    /// Goes to a page, and waits until it is there.
    ///
    /// # Panics
    /// Chromium does not answer.
    pub async fn visit(&mut self, url: &str) {
        let answer = self.command("Page.navigate", json!({ "url": url })).await;
        assert!(answer.get("errorText").is_none(), "{url}: {answer}");
        self.page_loaded().await;
    }

    /// Types into the field that has the focus.
    ///
    /// # Panics
    /// Chromium does not answer.
    pub async fn type_text(&mut self, text: &str) {
        self.command("Input.insertText", json!({ "text": text })).await;
    }

    /// Presses Enter, which submits the form that the focus is in, and waits for the next page.
    ///
    /// # Panics
    /// No page comes.
    pub async fn submit(&mut self) {
        self.press("Enter", 13, "\r").await;
        self.page_loaded().await;
    }

    /// Moves the focus on.
    ///
    /// # Panics
    /// Chromium does not answer.
    pub async fn tab(&mut self) {
        self.press("Tab", 9, "\t").await;
    }

    /// The page's elements as they are now, as HTML.
    ///
    /// # Panics
    /// Chromium does not answer.
    pub async fn html(&mut self) -> String {
        let document = self.command("DOM.getDocument", json!({ "depth": 0 })).await;
        let node = json!({ "nodeId": document["root"]["nodeId"] });
        let html = self.command("DOM.getOuterHTML", node).await;
        html["outerHTML"].as_str().expect("the page's HTML").to_owned()
    }

    /// Takes a picture of the page: a PNG at `path`.
    ///
    /// # Panics
    /// There is no picture, or the file cannot be written.
    pub async fn screenshot(&mut self, path: &Path) {
        let answer = self.command("Page.captureScreenshot", json!({ "format": "png" })).await;
        let picture = STANDARD.decode(answer["data"].as_str().expect("a picture")).unwrap();
        fs::create_dir_all(path.parent().expect("a directory")).unwrap();
        fs::write(path, picture).unwrap();
    }

    async fn press(&mut self, key: &str, code: u32, text: &str) {
        for event in ["keyDown", "keyUp"] {
            let mut event = json!({
                "type": event, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            if event["type"] == "keyDown" {
                event["text"] = json!(text);
            }
            self.command("Input.dispatchKeyEvent", event).await;
        }
    }

    async fn page_loaded(&mut self) {
        self.message(|message| message["method"] == "Page.loadEventFired").await;
    }

    /// Sends a command and waits for its result.
    async fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.commands_sent += 1;
        let id = self.commands_sent;
        let mut command = json!({ "id": id, "method": method, "params": parameters });
        if let Some(tab) = &self.tab {
            command["sessionId"] = json!(tab);
        }
        let bytes = format!("{command}\0");
        self.commands.write_all(bytes.as_bytes()).await.expect("Chromium takes commands");
        let answer = self.message(|message| message["id"] == id).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// The next message that is the wanted one. Those before it are of no interest.
    async fn message(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let messages = &mut self.messages;
        let next = async {
            loop {
                let mut bytes = Vec::new();
                messages.read_until(0, &mut bytes).await.expect("a message from Chromium");
                bytes.pop();
                let message = serde_json::from_slice(&bytes).expect("JSON from Chromium");
                if wanted(&message) {
                    return message;
                }
            }
        };
        time::timeout(ANSWER_WITHIN, next).await.unwrap_or_else(|_| {
            panic!("Chromium does not answer; the end of its log:\n{}", self.process.log_tail())
        })
    }
}

fn named_pipe(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &path, FileType::Fifo, mode, 0).expect("a named pipe");
    path
}

fn chromium() -> PathBuf {
    let named = env::var_os("CHROMIUM").filter(|named| !named.is_empty()).map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    let in_dirs = |name| env::split_paths(&path).map(move |dir: PathBuf| dir.join(name));
    let found = named.or_else(|| NAMES.into_iter().flat_map(in_dirs).find(|file| file.is_file()));
    found.filter(|file| file.is_file()).expect(
        "no Chromium: install it (Debian: apt-get install -y chromium fonts-noto-cjk), \
         or give its path in $CHROMIUM",
    )
}
