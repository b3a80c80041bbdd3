//! A registry of images on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::{Process, StartError};
use crate::{client, paths, ports};

/// A running registry that keeps images in memory.
#[derive(Debug)]
pub struct Registry {
    /// The process.
    pub process: Process,
    address: SocketAddr,
    dir: PathBuf,
}

impl Registry {
    /// Starts it.
    ///
    /// # Errors
    /// It is not built (`make test-istio`), or does not start.
    pub async fn start(dir: &Path) -> Result<Self, StartError> {
        let address = ports::free_address();
        let mut command = Command::new(paths::istio("crane")?);
        command.args(["registry", "serve", "--address", &address.to_string()]);
        let mut process = Process::spawn("registry", command, &dir.join("log/registry.log"), None)?;
        let client = client::http();
        let ready = || async {
            let answer = client.get(format!("http://{address}/v2/")).send().await.ok()?;
            answer.status().is_success().then_some(())
        };
        process.until_ready(ready).await?;
        Ok(Self { process, address, dir: dir.to_owned() })
    }

    /// Puts a module there as an image with one file, of the types of OCI, as `istio/images/build.sh` makes it.
    /// Gives its name by digest.
    ///
    /// # Panics
    /// It cannot be put there.
    pub async fn push(&self, name: &str, module: &Path) -> String {
        let image = format!("{}/{name}", self.address);
        let root = tempfile::tempdir_in(&self.dir).expect("a directory");
        std::fs::copy(module, root.path().join("plugin.wasm")).expect("a copy");
        let layer = self.dir.join("layer.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&layer).arg("-C").arg(root.path()).arg("plugin.wasm");
        assert!(tar.status().await.expect("tar").success());
        let mut append = Command::new(paths::istio("crane").expect("crane"));
        append.args(["append", "--oci-empty-base", "--insecure"]);
        append.args(["--new_tag", &image, "--new_layer"]).arg(&layer);
        let output = append.output().await.expect("crane");
        let pushed = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        pushed.trim().to_owned()
    }
}
